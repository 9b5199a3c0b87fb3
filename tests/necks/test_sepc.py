"""SEPC: against a plain port that goes level by level, under six heads, and in Faster R-CNN."""

import copy
import time
from collections.abc import Callable
from statistics import median

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from toolkit.modules.conv.pyramid_conv import DeformableConv2d, IntegratedBatchNorm, PConv
from toolkit.necks.sepc import SEPC
from toolkit.ops import load_mmdet

Pairs = list[tuple[Tensor, Tensor]]
VARIANTS = {
    "pconv": dict(pconv_deform=False, lcconv_deform=False, ibn=False),
    "ibn": dict(pconv_deform=False, lcconv_deform=False),
    "lite": dict(pconv_deform=False),
    "full": {},
}
PUBLISHED_PARAMETERS = {"pconv": 8_261_120, "ibn": 8_264_192, "lite": 8_347_172, "full": 8_845_052}


def pyramid(channels: int, height: int, width: int, levels: int = 5, batch: int = 1, **kwargs) -> list[Tensor]:
    maps = []
    for _ in range(levels):
        maps.append(torch.randn(batch, channels, height, width, **kwargs))
        height, width = (height + 1) // 2, (width + 1) // 2
    return maps


def lively(module: nn.Module) -> nn.Module:
    """`module` with activations of order 1 and offsets of a pixel or two."""
    for part in module.modules():
        if isinstance(part, DeformableConv2d):
            nn.init.normal_(part.conv_offset.bias)
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=(part.in_channels * 9) ** -0.5)
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return module


# ------------------------------------------------------------------------------------------- the plain per-level port


def one_conv(conv: nn.Conv2d, x: Tensor, deformed: bool) -> Tensor:
    if not (deformed and isinstance(conv, DeformableConv2d)):
        return F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding)
    return deform_conv2d(x, conv.conv_offset(x), conv.weight, conv.bias, conv.stride, conv.padding)


def joint_norm(norm: IntegratedBatchNorm | nn.Module | None, maps: list[Tensor]) -> list[Tensor]:
    if not isinstance(norm, IntegratedBatchNorm):
        return [F.relu(x) for x in maps]
    flat = torch.cat([x.reshape(*x.shape[:2], 1, -1) for x in maps], 3)
    parts = norm.norm(flat).relu().split([x[0, 0].numel() for x in maps], 3)
    return [part.reshape(x.shape) for part, x in zip(parts, maps, strict=True)]


def port_pconv(pconv: PConv, levels: list[Tensor]) -> list[Tensor]:
    coarser, same, finer = pconv.convs
    maps = []
    for i, x in enumerate(levels):
        deformed = i >= pconv.deform_start_level
        y = one_conv(same, x, deformed)
        if i > 0:
            y = y + one_conv(finer, levels[i - 1], deformed)
        if i < len(levels) - 1:
            z = one_conv(coarser, levels[i + 1], deformed)
            y = y + F.interpolate(z, y.shape[2:], mode="bilinear", align_corners=True)
        maps.append(y)
    return joint_norm(pconv.bn, maps)


def port(neck: SEPC, levels: list[Tensor]) -> Pairs:
    for pconv in neck.pconvs:
        levels = port_pconv(pconv, levels)
    both = []
    for name in ("cls", "box"):
        conv = neck.last_convs[name]
        maps = [one_conv(conv, x, i >= neck.deform_start_level) for i, x in enumerate(levels)]
        both.append(joint_norm(neck.last_norms[name], maps))
    return list(zip(*both, strict=True))


# -------------------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("last_padding", [None, 0])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_plain_port_in_evaluation_and_training(variant: str, last_padding: int | None) -> None:
    torch.manual_seed(0)
    neck = lively(SEPC(16, 2, last_padding=last_padding, **VARIANTS[variant])).double()
    levels = pyramid(16, 41, 34, batch=2, dtype=torch.float64)
    for mode in (False, True):
        neck.train(mode)
        other = copy.deepcopy(neck)
        ours = neck(levels)
        torch.testing.assert_close(list(ours), port(other, levels), atol=1e-10, rtol=0)
        torch.testing.assert_close(neck.state_dict(), other.state_dict())  # running statistics
        lost = 2 if last_padding == 0 else 0
        assert [x.shape[2:] for x, _ in ours] == [(x.shape[2] - lost, x.shape[3] - lost) for x in levels]


@pytest.mark.parametrize("variant", VARIANTS)
def test_has_the_published_number_of_parameters(variant: str) -> None:
    with torch.device("meta"):
        neck = SEPC(256, **VARIANTS[variant])
    assert sum(parameter.numel() for parameter in neck.parameters()) == PUBLISHED_PARAMETERS[variant]


def test_gradients_are_right() -> None:
    torch.manual_seed(0)
    neck = lively(SEPC(2, 1)).double()
    levels = [x.requires_grad_() for x in pyramid(2, 4, 3, levels=3, batch=2, dtype=torch.float64)]

    def total(*levels: Tensor) -> tuple[Tensor, ...]:
        return tuple(x for pair in neck(levels) for x in pair)

    assert torch.autograd.gradcheck(total, levels)
    parameters = dict(neck.named_parameters())

    def of_weights(*values: Tensor) -> tuple[Tensor, ...]:
        pairs = torch.func.functional_call(neck, dict(zip(parameters, values, strict=True)), (levels,))
        return tuple(x for pair in pairs for x in pair)

    assert torch.autograd.gradcheck(of_weights, tuple(parameters.values()), fast_mode=True)


def test_too_small_a_picture_is_told_the_least_size() -> None:
    levels = pyramid(8, 32, 40)  # P7 has 2 x 3 cells
    with pytest.raises(ValueError, match=r"2 x 3 cells.*need at least 3 x 3.*longer than 2 strides.*\(256 pixels"):
        SEPC(8, 1, last_padding=0)(levels)
    assert [x.shape for x, _ in SEPC(8, 1)(levels)] == [x.shape for x in levels]
    SEPC(8, 1, last_padding=0)(pyramid(8, 33, 40))  # a side of 257 pixels at stride 8
    assert [x.shape for x, _ in SEPC(8, 1)(pyramid(8, 1, 1))] == [(1, 8, 1, 1)] * 5


def test_one_map_a_level_is_what_the_last_pair_is_made_of() -> None:
    neck = lively(SEPC(8, 2)).eval()
    single = SEPC(8, 2, pairs=False).eval()
    assert set(neck.state_dict()) > set(single.state_dict())
    single.load_state_dict({key: value for key, value in neck.state_dict().items() if key.startswith("pconvs.")})
    levels = maps = pyramid(8, 20, 12)
    for pconv in neck.pconvs:
        maps = port_pconv(pconv, maps)
    torch.testing.assert_close(list(single(levels)), maps)


def relative_time(ours: Callable, theirs: Callable, rounds: int) -> float:
    """Median over the rounds of processor time of `ours` over `theirs`, run in turn."""
    ratios = []
    for _ in range(rounds):
        began = time.process_time()
        ours()
        between = time.process_time()
        theirs()
        ratios.append((between - began) / (time.process_time() - between))
    return median(ratios)


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "size", "rounds"), [(256, (100, 136), 3), (128, (30, 40), 15)])
def test_is_at_least_one_and_a_half_times_as_fast_as_the_plain_port(channels: int, size: tuple, rounds: int) -> None:
    torch.manual_seed(0)
    neck, levels = lively(SEPC(channels)).eval(), pyramid(channels, *size)
    with torch.inference_mode():
        for ours, theirs in zip(neck(levels), port(neck, levels), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
        forward = relative_time(lambda: neck(levels), lambda: port(neck, levels), rounds)
    print(f"SEPC, {channels} channels, {size}: {forward:.2f} of the plain port's time")
    assert forward < 1 / 1.5


@pytest.mark.slow
@pytest.mark.parametrize("size", [(320, 320), (800, 1088)])
def test_sepc_lite_costs_at_most_a_tenth_more_than_towers(size: tuple[int, int]) -> None:
    towers, lite = build(retinanet(50, 256, 80)).eval(), build(retinanet(50, 256, 80, SEPC_LITE)).eval()
    picture = torch.randn(1, 3, *size)
    with torch.inference_mode():
        lite(picture), towers(picture)
        cost = relative_time(lambda: lite(picture), lambda: towers(picture), 9 if size[0] < 800 else 3)
    print(f"RetinaNet R-50 with SEPC-lite at {size}: {cost:.2f} of the time with towers")
    assert cost < 1.1


# ---------------------------------------------------------------------------------------------------------- detectors

SEPC_LITE = dict(type="SEPC", pconv_deform=False)
ANCHOR = dict(type="AnchorGenerator", octave_base_scale=8, scales_per_octave=1, strides=[8, 16, 32, 64, 128])
RETINA_LOSSES = dict(
    loss_cls=dict(type="FocalLoss", use_sigmoid=True), loss_bbox=dict(type="SmoothL1Loss", beta=0.11, loss_weight=1.0)
)
MAX_IOU = dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1)
ATSS = dict(type="ATSSAssigner", topk=9)
HEADS = {
    "RetinaNet": (dict(type="RetinaHead", **RETINA_LOSSES), MAX_IOU),
    "FreeAnchor": (dict(type="FreeAnchorRetinaHead", loss_bbox=RETINA_LOSSES["loss_bbox"]), MAX_IOU),
    "FSAF": (
        dict(
            type="FSAFHead",
            reg_decoded_bbox=True,
            anchor_generator=dict(ANCHOR, octave_base_scale=1, ratios=[1.0]),
            bbox_coder=dict(type="BTLRBBoxCoder", normalizer=1.0),
            loss_cls=dict(type="FocalLoss", use_sigmoid=True, reduction="none"),
            loss_bbox=dict(type="IoULoss", reduction="none"),
        ),
        dict(type="CenterRegionAssigner", pos_scale=0.2, neg_scale=0.2, min_pos_iof=0.01),
    ),
    "ATSS": (
        dict(
            type="ATSSHead",
            anchor_generator=dict(ANCHOR, ratios=[1.0]),
            loss_cls=dict(type="FocalLoss", use_sigmoid=True),
            loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
        ),
        ATSS,
    ),
    "FCOS": (dict(type="FCOSHead", norm_cfg=None), None),
    "GFL": (
        dict(
            type="GFLHead",
            anchor_generator=dict(ANCHOR, ratios=[1.0]),
            loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True),
            loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
        ),
        ATSS,
    ),
}
TEST_CFG = dict(nms_pre=1000, score_thr=0.0, nms=dict(type="nms", iou_threshold=0.5), max_per_img=10)


def retinanet(depth: int, channels: int, classes: int, neck: dict | None = None, **changes) -> dict:
    """Config of a RetinaNet, with `neck` in place of the towers."""
    widths = [128, 256, 512] if depth < 50 else [512, 1024, 2048]
    fpn = dict(type="FPN", in_channels=widths, out_channels=channels, add_extra_convs="on_input", num_outs=5)
    head = dict(HEADS["RetinaNet"][0], num_classes=classes, in_channels=channels, feat_channels=channels) | changes
    if neck:
        head = dict(type="SEPCHead", bbox_head=dict(head, stacked_convs=head.get("stacked_convs", 0)))
    return dict(
        type="SingleStageDetector",
        data_preprocessor=dict(type="DetDataPreprocessor", pad_size_divisor=32),
        backbone=dict(type="ResNet", depth=depth, out_indices=(1, 2, 3), norm_eval=True),
        neck=[fpn, dict(neck, in_channels=channels)] if neck else fpn,
        bbox_head=head,
        train_cfg=dict(assigner=MAX_IOU, allowed_border=-1, pos_weight=-1),
        test_cfg=TEST_CFG,
    )


def build(config: dict) -> nn.Module:
    load_mmdet()
    from mmdet.registry import MODELS

    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(ConfigDict(copy.deepcopy(config)))
        model.init_weights()
    return model


def batch() -> dict:
    """Two pictures with a box each."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    samples = []
    for _ in range(2):
        sample = DetDataSample(
            metainfo=dict(img_shape=(128, 96), ori_shape=(128, 96), scale_factor=(1.0, 1.0), pad_shape=(128, 96))
        )
        box = torch.tensor([[16.0, 24.0, 72.0, 88.0]])
        sample.gt_instances = InstanceData(bboxes=box, labels=torch.tensor([1]))
        samples.append(sample)
    return dict(inputs=[torch.randint(0, 255, (3, 128, 96), dtype=torch.uint8) for _ in range(2)], data_samples=samples)


def assert_learns_and_predicts(model: nn.Module) -> None:
    data = model.data_preprocessor(batch(), True)
    losses, _ = model.parse_losses(model(**data, mode="loss"))
    losses.backward()
    assert losses.isfinite()
    without = [name for name, value in model.neck.named_parameters() if value.grad is None]
    assert not without
    with torch.no_grad():
        found = model.eval()(**data, mode="predict")
    assert all(sample.pred_instances.bboxes.isfinite().all() for sample in found)
    assert any(len(sample.pred_instances) for sample in found)


@pytest.mark.parametrize("name", HEADS)
def test_learns_and_predicts_under(name: str) -> None:
    load_mmdet()
    head, assigner = HEADS[name]
    config = retinanet(18, 16, 3, dict(type="SEPC", num_pconvs=1), **head)
    if name != "RetinaNet":
        config["bbox_head"]["bbox_head"] = dict(head, num_classes=3, in_channels=16, feat_channels=16, stacked_convs=0)
    config["train_cfg"] = dict(config["train_cfg"], assigner=assigner) if assigner else None
    model = build(config)
    assert_learns_and_predicts(model)
    pairs = model.neck(model.backbone(torch.randn(1, 3, 128, 96)))
    with torch.no_grad():
        for side in (0, 1):  # the classes come from the first map of a pair alone, the boxes from the second
            other = [tuple(x + 1 if i == side else x for i, x in enumerate(pair)) for pair in pairs]
            changed = [
                not torch.equal(before[0], after[0])
                for before, after in zip(model.bbox_head(pairs)[:2], model.bbox_head(other)[:2], strict=True)
            ]
            assert changed == [side == 0, side == 1]


def test_a_head_under_pairs_keeps_its_names_and_its_towers() -> None:
    towers = build(retinanet(18, 16, 3, stacked_convs=2)).bbox_head
    paired = build(retinanet(18, 16, 3, SEPC_LITE, stacked_convs=2)).bbox_head
    paired.load_state_dict(towers.state_dict())
    maps = pyramid(16, 16, 12)
    torch.testing.assert_close(paired([(x, x) for x in maps]), towers(maps))


def test_a_head_without_towers_is_refused(mmdet_scope: None) -> None:
    load_mmdet()
    from toolkit.heads.sepc import SEPCHead

    with pytest.raises(ValueError, match="RPNHead: a dense head with towers cls_convs and reg_convs is needed"):
        SEPCHead(dict(type="RPNHead", in_channels=16))


def test_btlr_boxes_are_tblr_boxes_with_two_channels_in_turn() -> None:
    load_mmdet()
    from toolkit.heads.sepc import BTLRBBoxCoder

    coder = BTLRBBoxCoder(normalizer=1.0)
    anchor, box = torch.tensor([[8.0, 8.0, 16.0, 16.0]]), torch.tensor([[4.0, 10.0, 28.0, 16.0]])
    distances = coder.encode(anchor, box)
    torch.testing.assert_close(distances, torch.tensor([[4.0, 2.0, 8.0, 16.0]]) / 8)  # from the centre (12, 12)
    torch.testing.assert_close(coder.decode(anchor, distances), box)


def test_faster_rcnn_takes_single_maps() -> None:
    load_mmdet()

    from toolkit.config import find_config

    config = Config.fromfile(find_config("faster_rcnn/faster-rcnn_r50_fpn_1x_coco")).model
    config.backbone.update(depth=18, init_cfg=None, frozen_stages=-1)
    fpn = dict(config.neck, in_channels=[64, 128, 256, 512], out_channels=16)
    config.neck = [fpn, dict(type="SEPC", in_channels=16, num_pconvs=1, pairs=False)]
    config.rpn_head.update(in_channels=16, feat_channels=16)
    config.roi_head.bbox_roi_extractor.out_channels = 16
    config.roi_head.bbox_head.update(in_channels=16, fc_out_channels=16, num_classes=3)
    config.test_cfg.rcnn.score_thr = 0.0
    assert_learns_and_predicts(build(config.to_dict()))
