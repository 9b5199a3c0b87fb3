"""HorNet as published: our modules carry the published names; maps of the spectrum are resized to the model's."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, stages_and_logits

if TYPE_CHECKING:
    from torch import Tensor, nn

SPECTRUM = ".complex_weight"


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a HorNet or of one gnConv."""
    return any(re.search(r"(^|\.)pws\.\d+\.weight$", key) for key in keys)


def adapt(state_dict: "Mapping[str, Tensor]", model: "nn.Module") -> "dict[str, Tensor]":
    """The checkpoint with its maps of the spectrum at the sizes of the model's."""
    from toolkit.modules.conv.gnconv import resized

    sizes = {key: value.shape[1:3] for key, value in model.state_dict().items() if key.endswith(SPECTRUM)}
    return {key: resized(value, sizes[key]) if key in sizes else value for key, value in state_dict.items()}


def build(case: Mapping) -> Built:
    """Our gnConv, classifier or backbone for a case."""
    facts = case["constructor"]
    return build_gnconv(facts) if "dim" in facts else build_network(facts)


def build_gnconv(facts: Mapping) -> Built:
    """One gnConv."""
    from toolkit.modules.conv.gnconv import GnConv

    if facts.get("gflayer") not in (None, "GlobalLocalFilter"):
        raise NotImplementedCase(f"gflayer {facts['gflayer']!r}")
    if "7x7" not in facts.get("dwconv", "7x7"):
        raise NotImplementedCase(f"dwconv {facts['dwconv']!r}")
    size = (facts.get("h", 14), facts.get("w", 8)) if facts.get("gflayer") else None
    layer = GnConv(facts["dim"], facts.get("order", 5), float(facts.get("s", 1.0)), size)
    return Built(layer, lambda model, inputs: {"out": model(inputs["x"])})


def spectra(facts: Mapping) -> dict[int, tuple[int, int]]:
    """Stage -> size of its global filter, from either way of telling it."""
    if "gflayer_stages" in facts:
        return {i: tuple(size) for i, size in zip(facts["gflayer_stages"], facts["hw"], strict=True)}
    found = {}
    for i, text in enumerate(facts.get("gnconv_spatial", ())):
        size = re.search(r"GlobalLocalFilter h=(\d+) w=(\d+)", text)
        if size:
            found[i] = (int(size[1]), int(size[2]))
        elif not text.startswith("7x7"):
            raise NotImplementedCase(f"gnconv_spatial {text!r}")
    return found


def build_network(facts: Mapping) -> Built:
    """The classifier with its bare maps, or the backbone of detectors with normed ones."""
    from toolkit.backbones.hornet import HorNet

    if facts.get("ffn_ratio", 4) != 4:
        raise NotImplementedCase(f"ffn_ratio {facts['ffn_ratio']}")
    scale = Fraction(str(facts.get("s", facts.get("gnconv_scale", "1/3"))).split()[0])
    filters = spectra(facts)
    arch = dict(
        base_dim=facts["base_dim"],
        depths=facts["depths"],
        orders=facts.get("orders") or facts["gnconv_order"],
        gf_stages=tuple(filters),
        scale=float(scale),
    )
    is_detector = facts.get("head", "").startswith("none")
    model = HorNet(
        arch,
        out_indices=range(len(facts["depths"])),
        num_classes=None if is_detector else facts.get("num_classes", 1000),
        spectrum_sizes=tuple(filters.values()),
    )
    first = 0 if "orders" in facts else 1  # the number by which a case calls the first stage

    def forward(model: "HorNet", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
        if is_detector:
            return {f"out{i}": one for i, one in enumerate(model(*inputs.values()))}
        return stages_and_logits(model, inputs, first)

    return Built(model, forward)


FAMILY = Family("HorNet", recognises, str, of_repository("raoyongming/HorNet"), build, ("gnConv", "HorNet"), adapt)
