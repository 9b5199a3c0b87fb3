"""SEPC as published: our neck names its convolutions by what they are for, the head and all before it are mmdet's."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository, require

if TYPE_CHECKING:
    from torch import Tensor, nn

RENAMED = (
    (re.compile(r"(^|\.)Pconvs\.(\d+)\.Pconv\."), r"\1pconvs.\2.convs."),
    (re.compile(r"(^|\.)Pconvs\.(\d+)\.bn\."), r"\1pconvs.\2.bn.norm."),
    (re.compile(r"(^|\.)cconv\."), r"\1last_convs.cls."),
    (re.compile(r"(^|\.)lconv\."), r"\1last_convs.box."),
    (re.compile(r"(^|\.)cbn\."), r"\1last_norms.cls.norm."),
    (re.compile(r"(^|\.)lbn\."), r"\1last_norms.box.norm."),
)
# Values of the published options that have no argument here: all published configurations have these.
FIXED = {"bn_eps": 1e-5, "bn_momentum": 0.1, "deform_groups": 1}
HEADS = ("RetinaHead", "FreeAnchorRetinaHead", "FSAFHead")


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a whole published detector or of its neck."""
    return any("Pconvs." in key for key in keys)


def rename(key: str) -> str:
    """The published key in our names."""
    for published, ours in RENAMED:
        key = published.sub(ours, key)
    return key


def neck(facts: Mapping) -> dict:
    """Config of our neck for the published one's arguments, given or default."""
    require(facts, FIXED)
    channels, kernel = facts.get("out_channels", 256), facts.get("kernel", 3)
    if any(width != channels for width in facts.get("in_channels", [])):
        raise NotImplementedCase(f"neck.in_channels {facts['in_channels']}: other than out_channels {channels}")
    if facts.get("pconv_padding", kernel // 2) != kernel // 2:
        raise NotImplementedCase(f"neck.pconv_padding {facts['pconv_padding']}: the size must stay")
    return dict(
        type="SEPC",
        in_channels=channels,
        num_pconvs=facts.get("Pconv_num", 4),
        pconv_deform=facts.get("pconv_deform", False),
        lcconv_deform=facts.get("lcconv_deform", False),
        ibn=facts.get("iBN", False),
        deform_start_level=facts.get("deform_start_level", 1),
        kernel_size=kernel,
        last_padding=facts.get("lateral_padding", 0),
    )


def head(facts: Mapping) -> dict:
    """Config of mmdet's head for the published one's arguments; what only losses and boxes need is left out."""
    kind = facts["type"].removeprefix("Sepc")
    if kind not in HEADS:
        raise NotImplementedCase(f"bbox_head.type {facts['type']}")
    anchors = dict(
        type="AnchorGenerator",
        octave_base_scale=facts.get("octave_base_scale", 4),
        scales_per_octave=facts.get("scales_per_octave", 3),
        ratios=facts.get("anchor_ratios", [0.5, 1.0, 2.0]),
        strides=facts.get("anchor_strides", [8, 16, 32, 64, 128]),
    )
    config = dict(
        type=kind,
        num_classes=facts["num_classes"] - 1,  # the published count has the background in it
        in_channels=facts.get("in_channels", 256),
        feat_channels=facts.get("feat_channels", 256),
        stacked_convs=facts.get("stacked_convs", 0),
        anchor_generator=anchors,
        loss_cls=dict(type="FocalLoss", use_sigmoid=True),
    )
    return dict(type="SEPCHead", bbox_head=config)


def build(case: Mapping) -> Built:
    """Our neck and head on the levels of a pyramid, under the published prefixes."""
    from mmengine.registry import MODELS, DefaultScope
    from torch import nn

    from toolkit.ops import load_mmdet

    load_mmdet()
    facts = case["constructor"]
    with DefaultScope.overwrite_default_scope("mmdet"):
        parts = {"neck": nn.ModuleDict({"1": MODELS.build(neck(facts["neck"]))})}
        if "bbox_head" in facts:
            parts["bbox_head"] = MODELS.build(head(facts["bbox_head"]))
    return Built(nn.ModuleDict(parts), outputs)


def outputs(model: "nn.ModuleDict", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Both maps of each level, the head's logits and boxes, and the norms' running statistics after the run."""
    pairs = model["neck"]["1"](tuple(inputs.values()))
    found = dict(zip(("neck_cls", "neck_loc"), zip(*pairs, strict=True), strict=True))
    if "bbox_head" in model:
        found |= zip(("cls_score", "bbox_pred"), model["bbox_head"](pairs), strict=True)
    named = {f"{name}{i}": tensor for name, tensors in found.items() for i, tensor in enumerate(tensors)}
    return named | statistics(model["neck"]["1"])


def statistics(sepc: "nn.Module") -> dict[str, "Tensor"]:
    """Running mean and variance of every norm by its published name with `_` for the dots."""
    norms = {f"Pconvs_{i}_bn": pconv.bn for i, pconv in enumerate(sepc.pconvs) if pconv.bn is not None}
    if hasattr(sepc.last_norms["cls"], "norm"):
        norms |= {"cbn": sepc.last_norms["cls"], "lbn": sepc.last_norms["box"]}
    names = ("running_mean", "running_var")
    return {f"{key}_{name}": getattr(norm.norm, name) for key, norm in norms.items() for name in names}


FAMILY = Family("SEPC", recognises, rename, of_repository("jshilong/SEPC"), build, ("SEPC", "SEPCHead", "PConv"))
