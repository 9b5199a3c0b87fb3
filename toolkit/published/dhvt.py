"""DHVT as published: our modules carry the published names."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase

if TYPE_CHECKING:
    from torch import Tensor, nn

OFFERED = {"qkv_bias": True, "norm": "LN 1e-6 (ht_norm: LN 1e-5)", "bn_eps": 1e-5}


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a DHVT."""
    return any(key.endswith("attn.ht_proj.weight") for key in keys)


def rename(key: str) -> str:
    """The published key, which is ours."""
    return key


def covers(case: Mapping) -> bool:
    """Whether the case is of DHVT's repository."""
    return case["source_repo"] == "ArieSeirack/DHVT"


def build(case: Mapping) -> Built:
    """Our classifier with the tokens after its blocks for a case."""
    from toolkit.backbones.dhvt import DHVT

    facts = case["constructor"]
    for name, value in OFFERED.items():
        if facts.get(name, value) != value:
            raise NotImplementedCase(f"{name} {facts[name]!r}")
    arch = {name: facts[name] for name in ("embed_dim", "depth", "num_heads", "mlp_ratio") if name in facts}
    return Built(DHVT(arch, facts.get("patch_size", 16), num_classes=facts.get("num_classes", 1000)), forward)


def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Logits and `blockI`, tokens with the class token first."""
    (image,) = inputs.values()
    found: dict[str, Tensor] = {}
    handles = [
        block.register_forward_hook(lambda _, __, y, i=i: found.update({f"block{i}": y}))
        for i, block in enumerate(model.blocks, 1)
    ]
    found["logits"] = model(image)
    for handle in handles:
        handle.remove()
    return found


FAMILY = Family("DHVT", recognises, rename, covers, build, verifies=("DHVT",))
