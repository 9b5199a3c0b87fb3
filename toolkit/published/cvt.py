"""CvT as published: our modules carry the authors' names. Those of Hugging Face's transformers are mapped."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, require

if TYPE_CHECKING:
    from torch import Tensor

    from toolkit.backbones.cvt import CvT

TRANSFORMERS = (  # of transformers' CvtForImageClassification -> ours, in this order
    (r"^(cvt\.)?encoder\.stages\.(\d+)\.", r"stage\2."),
    (r"\.embedding\.convolution_embeddings\.projection\.", ".patch_embed.proj."),
    (r"\.embedding\.convolution_embeddings\.normalization\.", ".patch_embed.norm."),
    (r"\.layers\.(\d+)\.", r".blocks.\1."),
    (r"\.attention\.attention\.convolution_projection_(\w)\w*\.convolution_projection\.convolution\.",
     r".attn.conv_proj_\1.conv."),
    (r"\.attention\.attention\.convolution_projection_(\w)\w*\.convolution_projection\.normalization\.",
     r".attn.conv_proj_\1.bn."),
    (r"\.attention\.attention\.projection_(\w)\w*\.", r".attn.proj_\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)  # fmt: skip
OFFERED = {  # facts that we have in one form alone
    "cls_token": [False, False, True],
    "pos_embed": [False, False, False],
    "qkv_bias": [True, True, True],
    "qkv_proj_method": ["dw_bn", "dw_bn", "dw_bn"],
    "kernel_qkv": [3, 3, 3],
    "padding_kv": [1, 1, 1],
    "stride_kv": [2, 2, 2],
    "padding_q": [1, 1, 1],
    "stride_q": [1, 1, 1],
    "bn_eps": 1e-5,
}
ARCH = ("dim_embed", "num_heads", "depth", "mlp_ratio", "patch_size", "patch_stride", "patch_padding")


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a CvT, in the authors' names or in those of transformers."""
    return any(re.search(r"\.conv_proj_q\.bn\.weight$|\.convolution_projection_query\.", key) for key in keys)


def rename(key: str) -> str:
    """The published key in our names."""
    for published, ours in TRANSFORMERS:
        key = re.sub(published, ours, key)
    return key


def build(case: Mapping) -> Built:
    """Our classifier with its maps for a case."""
    from toolkit.backbones.cvt import CvT

    facts = case["constructor"]
    require(facts, OFFERED)
    for name, text in (("activation", "QuickGELU"), ("norm", "LayerNorm eps 1e-5")):
        if not facts.get(name, text).startswith(text):
            raise NotImplementedCase(f"{name} {facts[name]!r}")
    model = CvT({name: facts[name] for name in ARCH if name in facts}, num_classes=facts.get("num_classes", 1000))

    def forward(model: "CvT", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        (image,) = inputs.values()
        maps, first = model.maps(image)
        return {"logits": model.logits(first), **{f"stage{i}": one for i, one in enumerate(maps, 1)}}

    return Built(model, forward)


FAMILY = Family("CvT", recognises, rename, of_repository("leoxiaobin/CvT"), build, verifies=("CvT",))
