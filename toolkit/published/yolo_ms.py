"""YOLO-MS and YOLOv8-MS as published: our modules carry the published names, the head lies one level deeper there."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from toolkit.published.family import Built, Family, NotImplementedCase, of_repository

if TYPE_CHECKING:
    from torch import Tensor, nn

HEAD = "bbox_head.head_module."


def recognises(keys: set[str]) -> bool:
    """Whether the keys are of a whole published detector."""
    return any(key.startswith(HEAD) for key in keys) and any(".mid_convs." in key for key in keys)


def rename(key: str) -> str:
    """The published key in our names."""
    return f"bbox_head.{key.removeprefix(HEAD)}" if key.startswith(HEAD) else key


def build(case: Mapping) -> Built:
    """Our block or whole detector for a case."""
    from toolkit.ops import load_mmdet

    load_mmdet()
    facts = case["constructor"]
    return build_detector(facts) if "backbone" in facts else build_block(facts)


def kernel_sizes(groups: Sequence) -> tuple[int, ...]:
    """Published kernels, 1 or a pair for each group -> one number for each group."""
    pairs = [(group, group) if isinstance(group, int) else tuple(group) for group in groups]
    if any(height != width for height, width in pairs):
        raise NotImplementedCase(f"kernel_sizes {groups}: square kernels only")
    return tuple(height for height, _ in pairs)


def build_block(facts: Mapping) -> Built:
    """MSBlock, under the name `block` as in the published keys of its cases."""
    from mmengine.registry import MODELS
    from torch import nn

    block = MODELS.build(
        dict(
            type="MSBlock",
            in_channels=facts["in_channel"],
            out_channels=facts["out_channel"],
            kernel_sizes=kernel_sizes(facts["kernel_sizes"]),
            num_layers=facts["layers_num"],
            norm_cfg=dict(type="BN", eps=facts.get("bn_eps", 1e-5)),
            attention_cfg=facts.get("attention_cfg"),
            **{key: facts[key] for key in ("in_expand_ratio", "mid_expand_ratio", "in_down_ratio") if key in facts},
        )
    )

    def forward(model: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
        return {"out": model["block"](inputs["x"]), "in_conv": model["block"].in_conv(inputs["x"])}

    return Built(nn.ModuleDict({"block": block}), forward)


def _backbone(facts: Mapping) -> dict:
    facts = dict(facts)
    groups, _, kernels = facts.pop("arch").partition("-K")
    if groups != "C3" or len(kernels) != 4 or not kernels.isdigit():
        raise NotImplementedCase(f"backbone.arch {groups}-K{kernels}: C3-K followed by four digits only")
    if facts.pop("last_stage_out_channels", 1280) != 1280:
        raise NotImplementedCase("backbone.last_stage_out_channels other than 1280")
    name = {"YOLOMS": "YOLOMSBackbone", "YOLOv8MS": "YOLOv8MSBackbone"}[facts.pop("type")]
    return dict(type=name, kernel_sizes=tuple(map(int, kernels)), num_layers=facts.pop("layers_num", 3), **facts)


def _neck(facts: Mapping) -> dict:
    facts = dict(facts)
    if facts["type"] == "YOLOv8MSPAFPN" and facts.pop("out_channels", facts["in_channels"]) != facts["in_channels"]:
        raise NotImplementedCase("neck.out_channels other than in_channels")
    return dict(facts, kernel_sizes=kernel_sizes(facts["kernel_sizes"]), num_layers=facts.pop("layers_num", 3))


def _head(facts: Mapping, slope: float) -> dict:
    facts = dict(facts["head_module"])
    strides = facts.pop("featmap_strides", [8, 16, 32])
    if facts.pop("type") == "YOLOv8HeadModule":
        prior = dict(type="MlvlPointGenerator", offset=0.5, strides=strides)
        return dict(type="YOLOv8Head", prior_generator=prior, **facts)
    if facts["act_cfg"]["type"] == "LeakyReLU":
        facts["act_cfg"] = dict(facts["act_cfg"], negative_slope=slope)
    prior = dict(type="MlvlPointGenerator", offset=0, strides=strides)
    return dict(type="YOLOMSHead", anchor_generator=prior, **facts)


def build_detector(facts: Mapping) -> Built:
    """Backbone, neck and head without preprocessing, with all their raw outputs."""
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    detector = dict(
        type="SingleStageDetector",
        backbone=_backbone(facts["backbone"]),
        neck=_neck(facts["neck"]),
        bbox_head=_head(facts["bbox_head"], facts.get("leaky_relu_slope", 0.01)),
    )
    with DefaultScope.overwrite_default_scope("mmdet"):  # whatever a model built before has left
        model = MODELS.build(detector)
    return Built(model, detector_outputs)


def detector_outputs(model: "nn.Module", inputs: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Features, class logits and distances of each level; the published distances are in strides, ours in pixels.

    In training the published YOLOv8 head gives the side logits (B, H * W, 4, reg_max) too.
    """
    head = model.bbox_head
    features = model.backbone(inputs["image"])
    levels = model.neck(features)
    if model.training and hasattr(head, "logits"):
        cls_scores, sides = head.logits(levels)
        distances = head.distances(sides)
        extra = {"bbox_dist": [side.flatten(3).permute(0, 3, 1, 2) for side in sides]}
    else:
        cls_scores, distances = head(levels)
        extra = {}
    strides = [stride[0] for stride in head.prior_generator.strides]
    outputs = {
        "backbone": features,
        "neck": levels,
        "cls_score": cls_scores,
        "bbox_pred": [distance / stride for distance, stride in zip(distances, strides, strict=True)],
        **extra,
    }
    return {f"{name}{i}": tensor for name, tensors in outputs.items() for i, tensor in enumerate(tensors)}


VERIFIES = (
    "MSBlock",
    "SE",
    "YOLOMSBackbone",
    "YOLOMSPAFPN",
    "YOLOMSHead",
    "YOLOv8MSBackbone",
    "YOLOv8MSPAFPN",
    "YOLOv8Head",
)
FAMILY = Family("YOLO-MS", recognises, rename, of_repository("FishAndWasabi/YOLO-MS"), build, VERIFIES)
