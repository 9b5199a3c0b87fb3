"""GLNet as published in rayleizhu/GLMix: our modules carry the published names."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, watched

if TYPE_CHECKING:
    from torch import Tensor, nn

LAYOUTS = {  # the downsampling between stages, told in words
    "3x3 s2 p1 conv, BN": "ovlp",
    "BN, 2x2 s2 conv": "non_ovlp",
}
OURS = ("depth", "embed_dim", "mlp_ratios", "head_dim", "mixing_modes", "local_dw_ks", "slot_init", "num_slots",
        "cpe_ks", "mlp_dw")  # fmt: skip


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a GLNet."""
    return any(key.endswith(".relation_mha.in_proj_weight") for key in keys)


def layout(facts: Mapping) -> str:
    """Our `downsample_style`."""
    if "downsample_style" in facts:
        return facts["downsample_style"]
    text = facts.get("downsample", "3x3 s2 p1 conv, BN")
    if text not in LAYOUTS:
        raise NotImplementedCase(f"downsample {text!r}")
    return LAYOUTS[text]


def layer_scale(facts: Mapping) -> float:
    """The start of layer scales; negative for none."""
    text = str(facts.get("layerscale", -1))
    if text.startswith("none"):
        return -1.0
    found = re.search(r"-?\d+(\.\d+)?(e-?\d+)?", text)
    if found is None:
        raise NotImplementedCase(f"layerscale {text!r}")
    return float(found[0])


def build(case: Mapping) -> Built:
    """Our network with its maps, and with what its blocks give, for a case."""
    from toolkit.backbones.glnet import GLNet

    facts = case["constructor"]
    if not facts.get("norm", "BatchNorm2d").startswith("BatchNorm2d"):
        raise NotImplementedCase(f"norm {facts['norm']!r}")
    arch = {name: facts[name] for name in OURS if name in facts}
    arch |= dict(downsample_style=layout(facts), layerscale=layer_scale(facts))
    model = GLNet(arch, out_indices=range(len(facts["depth"])), num_classes=facts.get("num_classes", 1000))
    return Built(model, forward)


def forward(model: "nn.Module", inputs: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Logits, `stageI` and `stageI_blockJ`."""
    modules = []
    for i, stage in enumerate(model.stages, 1):
        modules += [(f"stage{i}_block{j}", block) for j, block in enumerate(stage.blocks)]
        modules += [(f"stage{i}", stage.blocks[-1])]
    return watched(model, inputs, modules)


FAMILY = Family("GLNet", recognises, str, of_repository("rayleizhu/GLMix"), build, verifies=("GLNet",))
