"""DeepMAD as published: our modules carry the published names."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase

if TYPE_CHECKING:
    from torch import Tensor

    from toolkit.backbones.deepmad import DeepMAD


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a network of bottlenecks."""
    return any(re.search(r"block_list\.\d+\.block_list\.0\.residual_proj\.bn1\.weight$", key) for key in keys)


def rename(key: str) -> str:
    """The published key, which is ours."""
    return key


def covers(case: Mapping) -> bool:
    """Whether the case is of DeepMAD's repository."""
    return case["source_repo"] == "alibaba/lightweight-neural-architecture-search"


def build(case: Mapping) -> Built:
    """Our classifier with its maps for a case."""
    from toolkit.backbones.deepmad import NEEDED, DeepMAD

    facts = case["constructor"]
    if "structure" not in facts:
        raise NotImplementedCase(f"a constructor of {', '.join(facts)}, without structure")
    for layer in facts["structure"]:
        if layer["class"] not in NEEDED:
            raise NotImplementedCase(f"class {layer['class']}")
    if facts.get("bn_eps", 1e-5) != 1e-5:
        raise NotImplementedCase(f"bn_eps {facts['bn_eps']}")
    stages = sum(layer["s"] > 1 for layer in facts["structure"][1:])
    model = DeepMAD(facts["structure"], out_indices=range(stages), num_classes=facts.get("num_classes", 1000))

    def forward(model: "DeepMAD", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        (image,) = inputs.values()
        maps = model.maps(image)
        return {"logits": model.logits(maps[-1]), **{f"stage{i}": one for i, one in enumerate(maps, 1)}}

    return Built(model, forward)


FAMILY = Family("DeepMAD", recognises, rename, covers, build, verifies=("DeepMAD",))
