"""SMT as published in AFeng-x/SMT: our modules carry the published names."""

import re
from collections.abc import Mapping

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, stages_and_logits

SIZES = ("embed_dims", "depths", "mlp_ratios", "ca_num_heads", "sa_num_heads")
KNOWN = {*SIZES, "head_conv", "expand_ratio", "qkv_bias", "num_classes", "ca_attentions"}
FIXED = {  # what SMT has in every size; a stem is told with its kernel size
    "use_layerscale": "False",
    "stem": r"(\d)x\1 s2 p\d bias-free conv, BN, ReLU, 2x2 s2 conv with bias, LayerNorm eps 1e-5",
    "downsample": "3x3 s2 p1 conv, LayerNorm eps 1e-5",
    "block_norm": "LayerNorm eps 1e-6",
}


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of SMT. They are ours as well."""
    return any(re.search(r"(^|\.)block\d\.\d+\.attn\.local_conv_1\.weight$", key) for key in keys)


def build(case: Mapping) -> Built:
    """The network with its maps as stages counted from 1 and its logits."""
    from toolkit.backbones.smt import SMT

    facts = case["constructor"]
    for name, value in facts.items():
        if name not in KNOWN and not re.fullmatch(FIXED.get(name, "(?!)"), str(value)):
            raise NotImplementedCase(f"{name} {value!r}")
    for modulates, heads in zip(facts.get("ca_attentions", ()), facts["ca_num_heads"], strict=False):
        if bool(modulates) != (heads > 0):
            raise NotImplementedCase(f"ca_attentions {facts['ca_attentions']} with heads {facts['ca_num_heads']}")
    model = SMT(
        dict(head_conv=facts.get("head_conv", 3), **{name: facts[name] for name in SIZES}),
        facts.get("expand_ratio", 2),
        facts.get("qkv_bias", True),
        facts.get("num_classes", 1000),
    )
    return Built(model, stages_and_logits)


FAMILY = Family("SMT", recognises, str, of_repository("AFeng-x/SMT"), build, ("SMT",))
