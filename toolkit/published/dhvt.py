"""DHVT as published: our modules carry the published names."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, of_repository, require, watched

if TYPE_CHECKING:
    from torch import Tensor, nn

OFFERED = {"qkv_bias": True, "norm": "LN 1e-6 (ht_norm: LN 1e-5)", "bn_eps": 1e-5}


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a DHVT."""
    return any(key.endswith("attn.ht_proj.weight") for key in keys)


def build(case: Mapping) -> Built:
    """Our classifier with the tokens after its blocks for a case."""
    from toolkit.backbones.dhvt import DHVT

    facts = case["constructor"]
    require(facts, OFFERED)
    arch = {name: facts[name] for name in ("embed_dim", "depth", "num_heads", "mlp_ratio") if name in facts}
    return Built(DHVT(arch, facts.get("patch_size", 16), num_classes=facts.get("num_classes", 1000)), forward)


def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Logits and `blockI`, tokens with the class token first."""
    return watched(model, inputs, [(f"block{i}", block) for i, block in enumerate(model.blocks, 1)])


FAMILY = Family("DHVT", recognises, str, of_repository("ArieSeirack/DHVT"), build, verifies=("DHVT",))
