"""UniRepLKNet as published: its blocks hold reshaping layers in sequences, so that layers have numbers."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, stages_and_logits

if TYPE_CHECKING:
    from torch import Tensor

RENAMED = (
    (re.compile(r"(^|\.)pwconv1\.1\."), r"\1pwconv1."),
    (re.compile(r"(^|\.)act\.1\."), r"\1grn."),
    (re.compile(r"(^|\.)pwconv2\.0\."), r"\1pwconv2."),
    (re.compile(r"(^|\.)pwconv2\.2\."), r"\1norm2."),
)


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a network, in the form for training or for inference."""
    return any(key.endswith("act.1.gamma") for key in keys) and any(".se.down." in key for key in keys)


def rename(key: str) -> str:
    """The published key in our names."""
    for published, ours in RENAMED:
        key = published.sub(ours, key)
    return key


def build(case: Mapping) -> Built:
    """Our classifier with its bare maps, or backbone with normed ones, for a case."""
    import copy

    from toolkit.backbones.unireplknet import UniRepLKNet
    from toolkit.modules.conv.dilated_reparam import BRANCHES

    facts = case["constructor"]
    for name, value in facts.items():
        size = re.fullmatch(r"dilated_branches_k(\d+)", name)
        if size and BRANCHES.get(int(size[1])) != tuple(zip(value["kernels"], value["dilations"], strict=True)):
            raise NotImplementedCase(f"{name} {value}")
    if facts.get("ffn_ratio", 4) != 4:
        raise NotImplementedCase(f"ffn_ratio {facts['ffn_ratio']}")
    is_detector = facts.get("head", "").startswith("none")
    model = UniRepLKNet(
        dict(dims=facts["dims"], kernel_sizes=facts["kernel_sizes"]),
        out_indices=range(len(facts["dims"])),
        num_classes=None if is_detector else facts.get("num_classes", 1000),
        deploy=facts.get("deploy", False),
    )

    def forward(model: "UniRepLKNet", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        (image,) = inputs.values()
        if is_detector:
            return {f"out{i}": one for i, one in enumerate(model(image))}
        found = stages_and_logits(model, inputs)
        if "logits_reparameterised" in case["output_shapes"]:
            merged = copy.deepcopy(model)
            merged.switch_to_deploy()
            found["logits_reparameterised"] = merged(image)
        return found

    return Built(model, forward)


FAMILY = Family(
    "UniRepLKNet",
    recognises,
    rename,
    of_repository("AILab-CVC/UniRepLKNet"),
    build,
    ("DilatedReparamBlock", "UniRepLKNet"),
)
