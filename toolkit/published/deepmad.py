"""DeepMAD as published: our modules carry the published names."""

import re
from collections.abc import Mapping

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, require, stages_and_logits


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a network of bottlenecks."""
    return any(re.search(r"block_list\.\d+\.block_list\.0\.residual_proj\.bn1\.weight$", key) for key in keys)


def build(case: Mapping) -> Built:
    """Our classifier with its maps for a case."""
    from toolkit.backbones.deepmad import NEEDED, DeepMAD

    facts = case["constructor"]
    if "structure" not in facts:
        raise NotImplementedCase(f"a constructor of {', '.join(facts)}, without structure")
    for layer in facts["structure"]:
        if layer["class"] not in NEEDED:
            raise NotImplementedCase(f"class {layer['class']}")
    require(facts, dict(bn_eps=1e-5))
    stages = sum(layer["s"] > 1 for layer in facts["structure"][1:])
    model = DeepMAD(facts["structure"], out_indices=range(stages), num_classes=facts.get("num_classes", 1000))
    return Built(model, stages_and_logits)


FAMILY = Family(
    "DeepMAD",
    recognises,
    str,
    of_repository("alibaba/lightweight-neural-architecture-search"),
    build,
    verifies=("DeepMAD",),
)
