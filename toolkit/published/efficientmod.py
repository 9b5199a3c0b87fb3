"""EfficientMod as published in ma-xu/EfficientMod: our modules carry the published names."""

import re
from collections.abc import Mapping
from typing import Any

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, stages_and_logits

KNOWN = {"embed_dim", "depths", "attention_depth", "att_ratio", "att_heads", "qkv_bias", "mlp_ratio", "context_size",
         "num_classes"}  # fmt: skip
FIXED = {  # what every size has
    "att_head_dim": r"max\(dim//8, ?32\)",
    "conv_group_dim": "equal to mlp_ratio",
    "stem": "7x7 s4 p3 conv, LayerNorm 1e-5",
    "downsample": "3x3 s2 p1 conv, LayerNorm 1e-5",
    "norm": "LayerNorm eps 1e-5 channels-last",
    "act": "GELU erf",
    "layer_scale": "gamma_1 in the modulation blocks only; attention blocks have none",
    "head": "LayerNorm, global avg pool, Linear",
}


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of EfficientMod. They are ours as well."""
    return any(re.search(r"(^|\.)mlp\.context_layer\.context_list\.0\.weight$", key) for key in keys)


def expansions(told: Any, stages: int) -> list[list[int]]:
    """Expansions of each stage's blocks, in turn, from a list of them, one for each stage or one for all, or words."""
    if isinstance(told, str):
        found = re.match(r"(\d+(?:, ?\d+)*) alternating in every stage$", told)
        if found is None:
            raise NotImplementedCase(f"mlp_ratio {told!r}")
        told = [int(number) for number in found[1].split(",")]
    if all(isinstance(one, int | float) for one in told):
        told = [told] * stages
    return [[int(number) for number in one] for one in told]


def build(case: Mapping) -> Built:
    """The network with its maps as stages counted from 1 and its logits."""
    from toolkit.backbones.efficientmod import EfficientMod

    facts = case["constructor"]
    for name, value in facts.items():
        if name not in KNOWN and not re.fullmatch(FIXED.get(name, "(?!)"), str(value)):
            raise NotImplementedCase(f"{name} {value!r}")
    dims = facts["embed_dim"]
    sizes = dict(
        embed_dim=dims,
        depths=facts["depths"],
        attention=facts.get("attention_depth", [0] * len(dims)),
        expansions=expansions(facts["mlp_ratio"], len(dims)),
    )
    model = EfficientMod(
        sizes,
        facts.get("context_size", 7),
        facts.get("att_heads", 8),
        facts.get("att_ratio", 4),
        facts.get("qkv_bias", False),
        facts.get("num_classes", 1000),
    )
    return Built(model, stages_and_logits)


FAMILY = Family("EfficientMod", recognises, str, of_repository("ma-xu/EfficientMod"), build, ("EfficientMod",))
