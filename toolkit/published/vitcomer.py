"""ViT-CoMer as published: our modules carry the published names."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, of_repository, require

if TYPE_CHECKING:
    from torch import Tensor, nn

OFFERED = {"patch_size": 16, "cnn_feature_interaction": True, "norm": "LN 1e-6", "bn_eps": 1e-5}


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a ViT-CoMer."""
    return any(key.endswith("cti_tov.attn.sampling_offsets.weight") for key in keys)


def build(case: Mapping) -> Built:
    """Our backbone for a case."""
    from toolkit.backbones.vitcomer import DEFAULTS, ViTCoMer

    facts = case["constructor"]
    require(facts, OFFERED)
    names = ("embed_dim", "num_heads", *DEFAULTS)
    arch = {name: facts[name] for name in names if name in facts}

    def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        (image,) = inputs.values()
        return {f"out{i}": one for i, one in enumerate(model(image))}

    return Built(ViTCoMer(arch, facts.get("pretrain_size", 224)), forward)


FAMILY = Family("ViT-CoMer", recognises, str, of_repository("Traffic-X/ViT-CoMer"), build, verifies=("ViTCoMer",))
