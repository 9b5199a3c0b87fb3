"""BVR: keys, geometry, attention and targets against slow formulas; any dense head learns with it."""

import copy
import math

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.ops import load_mmdet

load_mmdet()

from mmdet.models.test_time_augs import DetTTAModel  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.bbox import bbox_overlaps  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402

from toolkit.heads.bvr import BridgingTransformer, RelativeGeometry, level_candidates, select_keys  # noqa: E402
from toolkit.heads.keypoint_head import KEYPOINT_TYPES, corner_radius, level_targets  # noqa: E402
from toolkit.published import convert  # noqa: E402

STRIDES = [8, 16, 32]
NORM = dict(type="GN", num_groups=4)
FOCAL = dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)
ASSIGNERS = dict(
    RetinaHead=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, ignore_iof_thr=-1),
    FCOSHead=None,
    ATSSHead=dict(type="ATSSAssigner", topk=9),
    ATSSHeadDCN=dict(type="ATSSAssigner", topk=9),
    GFLHead=dict(type="ATSSAssigner", topk=9),
)
ONE_ANCHOR = dict(type="AnchorGenerator", ratios=[1.0], octave_base_scale=8, scales_per_octave=1, strides=STRIDES)
ATSS = dict(anchor_generator=ONE_ANCHOR, loss_cls=FOCAL, loss_bbox=dict(type="GIoULoss", loss_weight=2.0))
BASES = dict(
    RetinaHead=dict(
        anchor_generator=dict(
            type="AnchorGenerator", octave_base_scale=4, scales_per_octave=1, ratios=[0.5, 1.0, 2.0], strides=STRIDES
        ),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
    ),
    FCOSHead=dict(
        strides=STRIDES,
        regress_ranges=((-1, 32), (32, 64), (64, 1e8)),
        norm_on_bbox=True,
        centerness_on_reg=True,
        dcn_on_last_conv=True,
    ),
    ATSSHead=ATSS,
    ATSSHeadDCN=ATSS,
    GFLHead=dict(
        anchor_generator=ONE_ANCHOR,
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
        reg_max=7,
    ),
)
TEST_CFG = dict(nms_pre=200, min_bbox_size=0, score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=10)


def base_head(name: str) -> dict:
    shared = dict(num_classes=3, in_channels=16, feat_channels=16, stacked_convs=2, norm_cfg=NORM)
    return dict(type=name, **shared, **BASES[name])


def bvr_head(name: str = "RetinaHead", **changes: object) -> dict:
    keypoint_head = dict(
        type="KeypointHead", num_classes=3, in_channels=16, feat_channels=16, strides=STRIDES, norm_cfg=NORM
    )
    return dict(
        type="BVRHead",
        bbox_head=base_head(name),
        keypoint_head=keypoint_head,
        num_heads=4,
        geometry_size=20,
        train_cfg=dict(assigner=ASSIGNERS[name], allowed_border=-1, pos_weight=-1),
        test_cfg=TEST_CFG,
        **changes,
    )


def build(cfg: dict) -> nn.Module:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(ConfigDict(cfg))
    model.init_weights()
    return model


def features(count: int = 2, size: int = 128) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, 16, size // stride, size // stride, generator=generator) for stride in STRIDES]


def sample(bboxes: list[list[float]], labels: list[int], size: int = 128) -> DetDataSample:
    data = DetDataSample(
        metainfo=dict(img_shape=(size, size), ori_shape=(size, size), pad_shape=(size, size), scale_factor=(1.0, 1.0))
    )
    data.gt_instances = InstanceData(
        bboxes=torch.tensor(bboxes).reshape(-1, 4), labels=torch.tensor(labels, dtype=torch.long)
    )
    return data


BOXES, LABELS = [[8.0, 16.0, 56.0, 72.0], [64.0, 70.0, 120.0, 118.0]], [2, 0]


def total(losses: dict) -> Tensor:
    return sum(sum(loss) if isinstance(loss, list | tuple) else loss for loss in losses.values())


def test_candidates_are_the_likeliest_local_maxima_of_any_class() -> None:
    torch.manual_seed(0)
    scores, offsets, stride = torch.randn(2, 3, 7, 9), torch.randn(2, 2, 7, 9), 16
    top, position, cell = level_candidates(scores, offsets, stride, 12)
    for image in range(2):
        peaks = []
        for label in range(3):
            for row in range(7):
                for column in range(9):
                    near = scores[image, label, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
                    if scores[image, label, row, column] == near.max():
                        peaks.append((scores[image, label, row, column].sigmoid().item(), row, column))
        for i, (value, row, column) in enumerate(sorted(peaks, reverse=True)[:12]):
            x, y = offsets[image, :, row, column].tolist()
            assert top[image, i].item() == pytest.approx(value)
            assert cell[image, i].item() == row * 9 + column
            expected = [column * 16 + 8 + 16 * x, row * 16 + 8 + 16 * y]
            assert position[image, i].tolist() == pytest.approx(expected, abs=1e-4)


def test_keys_are_the_best_candidates_of_all_levels_and_pass_gradients_to_their_offsets() -> None:
    torch.manual_seed(0)
    levels = [(torch.randn(1, 3, n, n), torch.randn(1, 2, n, n, requires_grad=True)) for n in (8, 4, 2)]
    each = [level_candidates(*level, stride, 5) for level, stride in zip(levels, STRIDES, strict=True)]
    first = [0, 64, 80]
    joined = [
        (score.item(), cell.item() + start, tuple(place.tolist()))
        for (scores, places, cells), start in zip(each, first, strict=True)
        for score, place, cell in zip(scores[0], places[0], cells[0], strict=True)
    ]
    best = sorted(joined, key=lambda item: -item[0])
    position, cells = select_keys(levels, STRIDES, 5, 9)
    assert cells[0].tolist() == [cell for _, cell, _ in best[:9]]
    assert position[0].flatten().tolist() == pytest.approx([x for _, _, place in best[:9] for x in place])
    assert select_keys(levels, STRIDES, 5, 50)[1].shape == (1, 14)  # 5, 5 and the 4 cells of the last level
    position[..., 0].sum().backward()
    for (_, offset), stride, start in zip(levels, STRIDES, first, strict=True):
        chosen = [cell - start for _, cell, _ in best[:9] if 0 <= cell - start < offset[0, 0].numel()]
        expected = torch.bincount(torch.tensor(chosen, dtype=torch.long), minlength=offset[0, 0].numel()) * stride
        assert offset.grad[0, 0].flatten().tolist() == expected.tolist()
        assert not offset.grad[0, 1].any()


def published_geometry(geometry: RelativeGeometry, offset: Tensor) -> Tensor:
    """log g as published: the sine map of all offsets, convolved, read by bilinear interpolation. (B, N, K, 2)."""
    half, channels = geometry.size // 2, geometry.conv.in_channels
    grid = torch.arange(-half, half + 1, dtype=torch.float32)
    maps = []
    for same in (1, 2):  # x does not change along a column, y not along a row
        angles = torch.stack([grid / 1000 ** (4 * i / channels) for i in range(channels // 4)])
        for wave in (angles.sin(), angles.cos()):
            maps.append(wave.unsqueeze(same).expand(-1, len(grid), len(grid)))
    read = F.grid_sample(
        geometry.conv(torch.cat(maps).unsqueeze(0)).expand(len(offset), -1, -1, -1),
        offset / geometry.unit / (geometry.size / 2),
        padding_mode="border",
        align_corners=False,
    )
    return read.clamp(min=1e-6).log()


@pytest.mark.parametrize("size", [20, 21])
def test_geometry_is_the_published_map_read_between_its_cells(size: int) -> None:
    torch.manual_seed(0)
    geometry = RelativeGeometry(16, 4, size, 8)
    offset = (torch.rand(2, 30, 7, 2) - 0.5) * 300  # the map ends at 80 pixels
    ours, theirs = geometry(*offset.unbind(3)), published_geometry(geometry, offset)
    assert ours.shape == (2, 4, 30, 7)
    assert (ours > math.log(2e-6)).float().mean() > 0.2
    torch.testing.assert_close(ours.exp(), theirs.exp(), rtol=1e-4, atol=1e-5)


def test_geometry_on_levels_is_that_of_each_cell() -> None:
    torch.manual_seed(0)
    geometry, keys = RelativeGeometry(16, 4, 20, 8), torch.rand(2, 5, 2) * 64
    sizes = [(6, 4), (3, 2), (2, 1)]
    cells = [
        (column * stride + stride // 2, row * stride + stride // 2)
        for (height, width), stride in zip(sizes, STRIDES, strict=True)
        for row in range(height)
        for column in range(width)
    ]
    offset = keys.unsqueeze(1) - torch.tensor(cells).view(1, -1, 1, 2)
    ours = geometry.on_levels(sizes, STRIDES, keys)
    torch.testing.assert_close(ours.exp(), geometry(*offset.unbind(3)).exp(), rtol=1e-4, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):  # the logarithm would magnify its rounding
        assert torch.equal(geometry.on_levels(sizes, STRIDES, keys), ours)


def test_the_transformer_is_a_softmax_over_keys_for_each_head_and_type() -> None:
    torch.manual_seed(0)
    transformer = BridgingTransformer(8, 2, 2, RelativeGeometry(8, 2, 20, 8))
    for attention in transformer.decoder:
        nn.init.normal_(attention.in_proj_bias)
    query, keys = torch.randn(2, 5, 8), [torch.randn(2, 3, 8) for _ in range(2)]
    weights = [torch.randn(2, 2, 5, 3) for _ in range(2)]
    expected = query.clone()
    for attention, key, weight in zip(transformer.decoder, keys, weights, strict=True):
        parts = zip(attention.in_proj_weight.split(8), attention.in_proj_bias.split(8), strict=True)
        q, k, v = (x @ w.T + b for x, (w, b) in zip((query, key, key), parts, strict=True))
        for image in range(2):
            for cell in range(5):
                heads = []
                for head in range(2):
                    part = slice(4 * head, 4 * head + 4)
                    logits = [
                        (q[image, cell, part] @ k[image, i, part] / 2 + weight[image, head, cell, i]).item()
                        for i in range(3)
                    ]
                    mass = [math.exp(logit) for logit in logits]
                    heads.append(sum(m / sum(mass) * v[image, i, part] for i, m in enumerate(mass)))
                expected[image, cell] += attention.out_proj(torch.cat(heads))
    torch.testing.assert_close(transformer(query, keys, weights), expected.relu(), rtol=1e-4, atol=1e-5)


def test_gradients_of_the_transformer() -> None:
    torch.manual_seed(0)
    transformer = BridgingTransformer(4, 2, 2, RelativeGeometry(4, 2, 6, 8)).double()
    nn.init.constant_(transformer.geometry.conv.bias, 3.0)  # away from the clamp's kink
    query = torch.randn(1, 6, 4, dtype=torch.float64) + 3  # away from the ReLU's kink
    keys = torch.randn(2, 1, 3, 4, dtype=torch.float64)
    places = torch.rand(2, 1, 3, 2, dtype=torch.float64) * 20
    names = list(dict(transformer.named_parameters()))

    def refined(query: Tensor, keys: Tensor, places: Tensor, *parameters: Tensor) -> Tensor:
        def forward(module: BridgingTransformer) -> Tensor:
            weights = [module.geometry.on_levels([(2, 2), (1, 2)], [8, 16], place) for place in places]
            return module(query, list(keys), weights)

        named = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(_Call(transformer, forward), {f"module.{k}": v for k, v in named.items()}, ())

    inputs = [query, keys, places, *(p.detach().clone() for p in transformer.parameters())]
    assert torch.autograd.gradcheck(refined, [x.requires_grad_() for x in inputs])


class _Call(nn.Module):
    """A module run by a function, for functional_call."""

    def __init__(self, module: nn.Module, function: object):
        super().__init__()
        self.module, self.function = module, function

    def forward(self) -> Tensor:
        return self.function(self.module)


@pytest.mark.parametrize("kind", KEYPOINT_TYPES)
def test_targets_are_a_gaussian_around_the_nearest_cell_of_each_box(kind: str) -> None:
    torch.manual_seed(0)
    corner = torch.rand(5, 2) * 100
    boxes = torch.cat([corner, corner + 4 + torch.rand(5, 2) * 60], 1)
    boxes = torch.cat([boxes, boxes[:1] + 0.01])  # the cells of another
    labels, stride, (height, width) = torch.arange(6), 16, (9, 7)
    heat, label, offset, positive = level_targets(boxes, labels, kind, (height, width), stride)
    points = dict(
        top_left_corner=boxes[:, :2], bottom_right_corner=boxes[:, 2:], center=(boxes[:, :2] + boxes[:, 2:]) / 2
    )[kind]
    grid = [(column * 16 + 8, row * 16 + 8) for row in range(height) for column in range(width)]
    nearest = [min(range(len(grid)), key=lambda i, point=point: math.dist(grid[i], point)) for point in points.tolist()]
    for i, place in enumerate(grid):
        row, column = divmod(i, width)
        values = []
        for box, centre in zip(boxes, nearest, strict=True):
            sigma = (2 * corner_radius(box[None]).item() + 1) / 6
            values.append(math.exp(-(math.dist(place, grid[centre]) ** 2) / (2 * sigma**2)))
        assert heat[row, column].item() == pytest.approx(max(values), rel=1e-3, abs=1e-6)
        assert positive[row, column] == (i in nearest)
        if max(values) > 1e-6:
            assert label[row, column] == values.index(max(values))
        expected = [0.0, 0.0]
        if i in nearest:
            assert heat[row, column] == 1
            expected = ((points[nearest.index(i)] - torch.tensor(place)) / 16).tolist()
        assert offset[row, column].tolist() == pytest.approx(expected, abs=1e-5)


def test_the_radius_keeps_the_overlap() -> None:
    torch.manual_seed(0)
    corner = torch.rand(50, 2) * 100
    boxes = torch.cat([corner, corner + 1 + torch.rand(50, 2) * 200], 1)
    radius = corner_radius(boxes).unsqueeze(1)
    moves = [torch.tensor(signs) * radius for signs in ([1, 1, 1, 1], [1, 1, -1, -1], [-1, -1, 1, 1])]
    worst = torch.stack([bbox_overlaps(boxes, boxes + move, is_aligned=True) for move in moves]).amin(0)
    torch.testing.assert_close(worst, torch.full_like(worst, 0.7), rtol=1e-3, atol=1e-3)


def test_an_image_without_boxes_has_no_heat() -> None:
    head = build(bvr_head())
    heats = head.keypoint_head(features(1))
    losses = head.keypoint_head.loss(heats, [sample([], [])])
    logits = torch.cat([score.flatten() for levels in heats.values() for score, _ in levels])
    probability = logits.sigmoid()
    expected = 0.25 * (-(1 - probability).log() * probability**2).sum()
    assert losses["loss_keypoint_cls"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert losses["loss_keypoint_offset"] == 0


def test_keypoint_losses_are_divided_by_positive_cells() -> None:
    """Targets as given by `level_targets`; both images, all types and levels count together."""
    head = build(bvr_head()).keypoint_head
    heats, images = head(features()), [sample(BOXES, LABELS), sample(BOXES[:1], LABELS[:1])]
    cls, reg, count = 0.0, 0.0, 0
    for kind, levels in heats.items():
        for stride, (scores, offsets) in zip(STRIDES, levels, strict=True):
            for i, image in enumerate(images):
                boxes, labels = image.gt_instances.bboxes, image.gt_instances.labels
                heat, label, shift, positive = level_targets(boxes, labels, kind, scores.shape[-2:], stride)
                target = F.one_hot(label, 3).permute(2, 0, 1) * heat
                p = scores[i].sigmoid()
                is_one = target == 1
                cls -= (is_one * p.log() * (1 - p) ** 2).sum()
                cls -= ((1 - target) ** 4 * (1 - p).log() * p**2)[~is_one].sum()
                reg += F.smooth_l1_loss(offsets[i].permute(1, 2, 0)[positive], shift[positive], reduction="sum")
                count += positive.sum()
    losses = head.loss(heats, images)
    assert losses["loss_keypoint_cls"].item() == pytest.approx((0.25 * cls / count).item(), rel=1e-4)
    assert losses["loss_keypoint_offset"].item() == pytest.approx((reg / count).item(), rel=1e-4)


@pytest.mark.filterwarnings("ignore:DeprecationWarning")
@pytest.mark.parametrize("name", BASES)
def test_without_attention_the_dense_head_is_as_it_was(name: str) -> None:
    """Towers end in a ReLU, so refining by nothing changes nothing; any dense head serves, with its own parameters."""
    head = build(bvr_head(name)).eval()
    bare = build(base_head(name)).eval()
    bare.load_state_dict(head.bbox_head.state_dict())
    x = features()
    with torch.no_grad():
        refined = head(x)
        for transformer in (head.cls_transformer, head.reg_transformer):
            for attention in transformer.decoder:
                attention.out_proj.weight.zero_()
        plain, expected = head(x), bare(x)
    for ours, theirs, changed in zip(plain, expected, refined, strict=True):
        for a, b, c in zip(ours, theirs, changed, strict=True):
            torch.testing.assert_close(a, b)
            assert not torch.equal(a, c)


@pytest.mark.filterwarnings("ignore:DeprecationWarning")
@pytest.mark.parametrize("name", BASES)
def test_every_parameter_of_any_dense_head_gets_a_gradient(name: str) -> None:
    head = build(bvr_head(name)).train()
    losses = head.loss(features(), [sample(BOXES, LABELS), sample([], [])])
    total(losses).backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())
    assert {"loss_cls", "loss_bbox", "loss_keypoint_cls", "loss_keypoint_offset"} <= losses.keys()


@pytest.mark.parametrize("name", ["RetinaHead", "FCOSHead"])
def test_a_dense_head_learns_to_find_the_boxes(name: str) -> None:
    """Overfit two boxes on fixed features beside an image without boxes."""
    head, x = build(bvr_head(name)).train(), features()
    batch = [sample(BOXES, LABELS), sample([], [])]
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.01)
    losses = []
    for _ in range(50):
        loss = total(head.loss(x, batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    head.eval()
    with torch.no_grad():
        found, empty = head.predict(x, batch)
    assert not (empty.scores > 0.3).any()
    for label, box in zip(LABELS, BOXES, strict=True):
        best = found[found.labels == label][0]
        assert bbox_overlaps(best.bboxes, torch.tensor([box])).item() > 0.7


def test_mixed_precision_trains() -> None:
    head, x, batch = build(bvr_head()).train(), features(), [sample(BOXES, LABELS), sample([], [])]
    loss = total(head.loss(x, batch))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = total(head.loss(x, batch))
    assert mixed.item() == pytest.approx(loss.item(), rel=0.02)
    mixed.backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


def test_loss_and_predict_is_loss_and_predict() -> None:
    head, x, batch = build(bvr_head()).eval(), features(), [sample(BOXES, LABELS), sample([], [])]
    head.bbox_head.test_cfg.score_thr = 0.0
    with torch.no_grad():
        losses, detections = head.loss_and_predict(x, batch)
        assert total(losses) == total(head.loss(x, batch))
        assert losses.keys() == head.loss(x, batch).keys()
        for a, b in zip(detections, head.predict(x, batch), strict=True):
            assert len(a) == 10
            assert torch.equal(a.bboxes, b.bboxes)


@pytest.mark.parametrize("share", [False, True])
def test_a_published_checkpoint_loads_and_its_stored_maps_are_not_saved(share: bool) -> None:
    source = build(dict(type="SingleStageDetector", **backbone_and_neck(), bbox_head=bvr_head(share_geometry=share)))
    model = copy.deepcopy(source)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    published = {
        key.replace(".geometry.conv.", ".relative_positional_encoding.embedding_transform.0.conv."): value
        for key, value in source.state_dict().items()
    }
    for tower in ("cls", "reg"):
        key = f"bbox_head.{tower}_transformer.relative_positional_encoding.base_embedding"
        published[key] = torch.randn(1, 16, 21, 21)
    converted = convert(published, model)
    assert converted.recognised == "BVR"
    assert converted.complete
    model.load_state_dict(converted.state_dict)
    x = torch.randn(1, 3, 64, 64)
    assert all(torch.equal(a, b) for a, b in zip(flat(model.eval()(x)), flat(source.eval()(x)), strict=True))
    saved = model.state_dict()
    assert not any("embedding" in key or "waves" in key for key in saved)
    assert convert(saved, model).recognised is None


def flat(outputs: tuple) -> list[Tensor]:
    return [tensor for level in outputs for tensor in level]


def backbone_and_neck() -> dict:
    return dict(
        data_preprocessor=dict(type="DetDataPreprocessor", mean=[0.0] * 3, std=[1.0] * 3, pad_size_divisor=32),
        backbone=dict(
            type="ResNet", depth=18, base_channels=8, num_stages=4, out_indices=(1, 2, 3), style="pytorch"
        ),
        neck=dict(type="FPN", in_channels=[16, 32, 64], out_channels=16, num_outs=3),
    )  # fmt: skip


def view(image: Tensor, flip: bool) -> dict:
    data = sample([], [])
    data.set_metainfo(dict(flip=flip, flip_direction="horizontal" if flip else None, img_id=0))
    return dict(inputs=[image.flip(2) if flip else image], data_samples=[data])


def test_test_time_augmentation_goes_through_the_transformers() -> None:
    cfg = dict(type="SingleStageDetector", **backbone_and_neck(), bbox_head=bvr_head())
    cfg["bbox_head"].pop("train_cfg")
    cfg["bbox_head"].pop("test_cfg")
    detector = build(dict(cfg, test_cfg=dict(TEST_CFG, score_thr=0.0))).eval()
    for parameter in detector.bbox_head.parameters():  # scores that differ
        nn.init.normal_(parameter, std=0.1)
    merged = DetTTAModel(tta_cfg=ConfigDict(nms=dict(type="nms", iou_threshold=0.5), max_per_img=10), module=detector)
    merged.eval()
    image = torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(0))

    def views(*flips: bool) -> dict:
        each = [view(image, flip) for flip in flips]
        return {key: [one[key] for one in each] for key in ("inputs", "data_samples")}

    def scores_of(*flips: bool) -> Tensor:
        with torch.no_grad():
            return merged.test_step(views(*flips))[0].pred_instances.scores

    one = scores_of(False)
    with torch.no_grad():
        plain = detector.test_step(view(image, False))[0].pred_instances
    assert torch.equal(one, plain.scores)
    both = scores_of(False, True)
    assert both.max() == torch.maximum(one.max(), scores_of(True).max())
    nn.init.zeros_(detector.bbox_head.cls_transformer.decoder[0].out_proj.weight)
    assert not torch.allclose(scores_of(False, True), both)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(bbox_head=dict(type="YOLOXHead", num_classes=3, in_channels=16)), "towers cls_convs and reg_convs"),
        (dict(cls_keypoint_types=["middle"]), r"keypoint_types lacks \['middle'\]"),
        (dict(num_heads=3), "must be divisible by num_heads 3, got 16"),
        (dict(keypoint_head=dict(type="KeypointHead", num_classes=3, in_channels=16, keypoint_types=["edge"])), "edge"),
    ],
)
def test_wrong_use_is_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(bvr_head() | changes)


def test_levels_must_be_as_many_as_strides() -> None:
    with pytest.raises(ValueError, match=r"2 levels, keypoint_head.strides has 3"):
        build(bvr_head())(features()[:2])
