"""BVRHead: any dense head with class and box towers, each cell's features refined by keypoints of the whole image.

RelationNet++: Bridging Visual Representations for Object Detection via Transformer Decoder, NeurIPS 2020,
arXiv 2010.15831.

    class map  +=  attention(cells, centres);     box map  +=  attention(cells, top-left and bottom-right corners)
    attention weights = softmax over keys of  q . k / sqrt(d) + log max(g(key - cell), 1e-6)
    g = 1x1 convolution (C -> heads) of a sine embedding of the offset, x and y

Keys are the 50 most likely keypoints of a type on all levels; every cell of every level sees the same ones. After the
sum comes a ReLU.
"""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmdet.structures import SampleList
from mmdet.utils import InstanceList
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.heads.keypoint_head import Heat, cell_positions
from toolkit.heads.towers import Pair, detach_towers

MIN_WEIGHT = 1e-6  # of g, before the logarithm


def level_candidates(scores: Tensor, offsets: Tensor, stride: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest keypoints of a level: (cell, class) pairs at a local maximum of the class's heat map.

    One cell may come several times, for several classes.

    Args:
        scores: class logits (B, num_classes, H, W).
        offsets: (B, 2, H, W), x and y in strides.
        count: how many, at most; a level of fewer cells gives as many as it has cells.

    Returns:
        Probabilities (B, K) in falling order, positions (B, K, 2) in pixels and indices row * W + column (B, K).
        Gradients reach `offsets` through the positions.
    """
    height, width = scores.shape[-2:]
    heat = scores.detach().to(torch.promote_types(scores.dtype, torch.float32)).sigmoid()
    heat = heat * (heat == F.max_pool2d(heat, 3, 1, 1))
    top, index = heat.flatten(1).topk(min(count, height * width))
    cell = index % (height * width)
    grid = torch.stack([cell % width, cell // width], 2) * stride + stride // 2
    shift = offsets.flatten(2).transpose(1, 2).gather(1, cell.unsqueeze(2).expand(-1, -1, 2))
    return top, grid + shift.to(heat.dtype) * stride, cell


def select_keys(levels: Heat, strides: Sequence[int], keys_per_level: int, num_keys: int) -> tuple[Tensor, Tensor]:
    """The likeliest keypoints of one type over all levels.

    Returns:
        Positions (B, K, 2) in pixels, and where their features are: indices (B, K) into the cells of all levels joined
        in order. K is `num_keys`, or as many as small maps offer.
    """
    scores, positions, cells, first = [], [], [], 0
    for (score, offset), stride in zip(levels, strides, strict=True):
        top, position, cell = level_candidates(score, offset, stride, keys_per_level)
        scores.append(top)
        positions.append(position)
        cells.append(cell + first)
        first += score.shape[-2] * score.shape[-1]
    score = torch.cat(scores, 1)
    best = score.topk(min(num_keys, score.shape[1])).indices
    position = torch.cat(positions, 1).gather(1, best.unsqueeze(2).expand(-1, -1, 2))
    return position, torch.cat(cells, 1).gather(1, best)


class CrossAttention(nn.Module):
    """Multi-head attention of many queries to a few keys that are their own values, with a bias on the logits.

    Args:
        channels: of queries, keys and output.
        num_heads: divides `channels`.
    """

    def __init__(self, channels: int, num_heads: int):
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"CrossAttention: channels must be divisible by num_heads {num_heads}, got {channels}")
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))  # of queries, keys, values
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        """(B, N, C), (B, K, C) and (B, num_heads, N, K) -> (B, N, C)."""
        channels = query.shape[2]
        query = F.linear(query, self.in_proj_weight[:channels], self.in_proj_bias[:channels])
        keys = F.linear(keys, self.in_proj_weight[channels:], self.in_proj_bias[channels:])
        split = [x.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in (query, *keys.chunk(2, 2))]
        out = F.scaled_dot_product_attention(*split, attn_mask=bias.to(query.dtype))
        return self.out_proj(out.transpose(1, 2).flatten(2))


class RelativeGeometry(nn.Module):
    """log g of the offsets between cells and keys, one number for each head.

    The published code holds the sine embedding of all whole offsets up to half of `size` as a map of
    (size + 1) x (size + 1) cells, convolves it and reads it with bilinear interpolation, border values beyond the map.
    It reads size + 1 cells as if they were `size`, so offsets are stretched by (size + 1) / size; checkpoints need
    that. Sines of x and of y lie in channels of their own, so the convolved map is a(x) + b(y) + bias, and reading it
    between its cells is reading the two rows a and b: that is what happens here, with equal results.

    Args:
        channels: of the embedding, a quarter each for sin x, cos x, sin y, cos y.
        num_heads: numbers for each offset.
        size: extent of the map, in units.
        unit: pixels in a unit of offset; published: the first stride, for every level.
    """

    def __init__(self, channels: int, num_heads: int, size: int, unit: int):
        super().__init__()
        if channels % 4:
            raise ValueError(f"RelativeGeometry: channels must be divisible by 4, got {channels}")
        self.size = size
        self.unit = unit
        self.conv = nn.Conv2d(channels, num_heads, 1)
        offsets = torch.arange(-(size // 2), size // 2 + 1, dtype=torch.float64)
        angles = offsets / 1000 ** (torch.arange(channels // 4, dtype=torch.float64) * 4 / channels).unsqueeze(1)
        waves = torch.cat([angles.sin(), angles.cos()])  # (channels / 2, L), L = size + 1 for an even size
        self.register_buffer("waves", waves.to(torch.get_default_dtype()), persistent=False)

    def forward(self, offset_x: Tensor, offset_y: Tensor) -> Tensor:
        """Offsets key minus cell in pixels, both (B, N, K) -> (B, num_heads, N, K)."""
        return self._log(self._along(0, offset_x) + self._along(1, offset_y))

    def on_levels(self, sizes: Sequence[tuple[int, int]], strides: Sequence[int], keys: Tensor) -> Tensor:
        """The same for all cells of levels of H x W `sizes`, N in order of levels, and keys (B, K, 2) in pixels."""
        heights, widths = zip(*sizes, strict=True)
        key_x, key_y = keys.unsqueeze(1).unbind(3)  # (B, 1, K)
        along_x = self._along(0, key_x - _joined_positions(widths, strides, keys))  # (num_heads, B, sum of W, K)
        along_y = self._along(1, key_y - _joined_positions(heights, strides, keys))
        levels = zip(along_y.split(heights, 2), along_x.split(widths, 2), strict=True)
        return self._log(torch.cat([(y.unsqueeze(3) + x.unsqueeze(2)).flatten(2, 3) for y, x in levels], 2))

    def _along(self, axis: int, offset: Tensor) -> Tensor:
        """What offsets along x (0) or y (1) add to g: (num_heads, *offset.shape)."""
        # not a matrix product: under autocast that would round to bfloat16, and the logarithm magnifies it
        weight = self.conv.weight.view(self.conv.out_channels, 2, -1, 1)[:, axis].to(offset.dtype)
        row = (weight * self.waves).sum(1)  # (num_heads, L), one number for each whole offset
        if axis == 0:
            row = row + self.conv.bias.to(offset.dtype).unsqueeze(1)
        last = row.shape[1] - 1
        cell = ((offset / (self.unit * self.size / 2) + 1) * (last + 1) - 1) / 2
        cell = cell.clamp(0, last)
        left = cell.detach().floor().clamp(max=last - 1)
        share, left = cell - left, left.long()
        return torch.lerp(row[:, left], row[:, left + 1], share)

    @staticmethod
    def _log(g: Tensor) -> Tensor:
        return g.clamp_(min=MIN_WEIGHT).log_().transpose(0, 1)


def _joined_positions(sizes: Sequence[int], strides: Sequence[int], like: Tensor) -> Tensor:
    """Columns (or rows) of all levels in pixels: (sum of sizes, 1)."""
    levels = [cell_positions(size, stride, like) for size, stride in zip(sizes, strides, strict=True)]
    return torch.cat(levels).unsqueeze(1)


class BridgingTransformer(nn.Module):
    """Refines the cells of one tower by the keys of several keypoint types.

    Args:
        channels: C of the tower.
        num_types: keypoint types.
        num_heads: attention heads.
        geometry: may be shared with the other tower's.
    """

    def __init__(self, channels: int, num_types: int, num_heads: int, geometry: RelativeGeometry):
        super().__init__()
        self.decoder = nn.ModuleList(CrossAttention(channels, num_heads) for _ in range(num_types))
        self.geometry = geometry

    def forward(self, query: Tensor, keys: Sequence[Tensor], log_weights: Sequence[Tensor]) -> Tensor:
        """(B, N, C), for each type keys (B, K, C) and log g (B, num_heads, N, K) -> (B, N, C)."""
        parts = zip(self.decoder, keys, log_weights, strict=True)
        return (query + sum(attention(query, key, weight) for attention, key, weight in parts)).relu()


@MODELS.register_module()
class BVRHead(BaseModule):
    """Bridges the representations of a dense head (boxes or points) with corners and centres.

    Losses are those of the dense head and the two of the keypoint head. What a published checkpoint holds of geometry
    maps (165 MB each) is computed here instead: accepted on loading, absent on saving.

    Args:
        bbox_head: a dense head of mmdet with towers `cls_convs` and `reg_convs` (RetinaHead, FCOSHead, ATSSHead,
            GFLHead and those derived from them).
        keypoint_head: a `KeypointHead`; classes, channels and strides are the dense head's where it names none.
        cls_keypoint_types: whose keys refine the class tower.
        reg_keypoint_types: whose keys refine the box tower.
        keys_per_level: candidates of a type on each level.
        num_keys: keys of a type in all.
        num_heads: attention heads.
        geometry_size: extent of the geometry map, in first strides; beyond it all offsets count as the farthest.
        share_geometry: one geometry convolution for both towers.
        train_cfg: of the dense head.
        test_cfg: of the dense head.
    """

    def __init__(
        self,
        bbox_head: dict,
        keypoint_head: dict,
        cls_keypoint_types: Sequence[str] = ("center",),
        reg_keypoint_types: Sequence[str] = ("top_left_corner", "bottom_right_corner"),
        keys_per_level: int = 20,
        num_keys: int = 50,
        num_heads: int = 8,
        geometry_size: int = 400,
        share_geometry: bool = False,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.bbox_head = MMDET_MODELS.build(dict(bbox_head, train_cfg=train_cfg, test_cfg=test_cfg))
        detach_towers(self.bbox_head)
        same = dict(
            num_classes=self.bbox_head.num_classes,
            in_channels=self.bbox_head.in_channels,
            feat_channels=self.bbox_head.feat_channels,
            strides=[stride for stride, _ in self.bbox_head.prior_generator.strides],
        )
        self.keypoint_head = MMDET_MODELS.build(same | keypoint_head)
        lacking = {*cls_keypoint_types, *reg_keypoint_types} - set(self.keypoint_head.keypoint_layers)
        if lacking:
            raise ValueError(f"BVRHead: keypoint_head.keypoint_types lacks {sorted(lacking)}")
        self.cls_keypoint_types = tuple(cls_keypoint_types)
        self.reg_keypoint_types = tuple(reg_keypoint_types)
        self.keys_per_level = keys_per_level
        self.num_keys = num_keys
        channels = self.bbox_head.feat_channels
        unit = self.keypoint_head.strides[0]

        def geometry() -> RelativeGeometry:
            return RelativeGeometry(channels, num_heads, geometry_size, unit)

        of_class = geometry()
        of_box = of_class if share_geometry else geometry()
        self.cls_transformer = BridgingTransformer(channels, len(self.cls_keypoint_types), num_heads, of_class)
        self.reg_transformer = BridgingTransformer(channels, len(self.reg_keypoint_types), num_heads, of_box)

    @property
    def num_classes(self) -> int:
        """Classes of the dense head."""
        return self.bbox_head.num_classes

    def refine(self, feats: Sequence[Tensor]) -> tuple[list[Pair], dict[str, Heat]]:
        """Levels (B, C, H, W) -> refined class and box map of each level, and what the keypoint head said.

        Raises:
            ValueError: the levels are not as many as the keypoint head's strides.
        """
        strides = self.keypoint_head.strides
        if len(feats) != len(strides):
            raise ValueError(f"BVRHead: {len(feats)} levels, keypoint_head.strides has {len(strides)}")
        heats = self.keypoint_head(feats)
        keys = {
            kind: select_keys(heats[kind], strides, self.keys_per_level, self.num_keys)
            for kind in {*self.cls_keypoint_types, *self.reg_keypoint_types}
        }
        cls_maps = [self.bbox_head.cls_convs(feat) for feat in feats]
        reg_maps = [self.bbox_head.reg_convs(feat) for feat in feats]
        cls_maps = self._attend(self.cls_transformer, cls_maps, [keys[kind] for kind in self.cls_keypoint_types])
        reg_maps = self._attend(self.reg_transformer, reg_maps, [keys[kind] for kind in self.reg_keypoint_types])
        return list(zip(cls_maps, reg_maps, strict=True)), heats

    def _attend(
        self, transformer: BridgingTransformer, maps: Sequence[Tensor], keys: Sequence[tuple[Tensor, Tensor]]
    ) -> list[Tensor]:
        sizes = [tuple(x.shape[-2:]) for x in maps]
        query = torch.cat([x.flatten(2) for x in maps], 2).transpose(1, 2)  # (B, N, C), cells of all levels
        features = [query.gather(1, cells.unsqueeze(2).expand(-1, -1, query.shape[2])) for _, cells in keys]
        weights = [transformer.geometry.on_levels(sizes, self.keypoint_head.strides, places) for places, _ in keys]
        refined = transformer(query, features, weights).transpose(1, 2)
        levels = refined.split([height * width for height, width in sizes], 2)
        return [level.unflatten(2, size) for level, size in zip(levels, sizes, strict=True)]

    def forward(self, feats: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """Levels (B, C, H, W) -> the dense head's outputs."""
        return self.bbox_head(self.refine(feats)[0])

    def loss(self, feats: Sequence[Tensor], batch_data_samples: SampleList) -> dict[str, Tensor]:
        """The dense head's losses and the keypoint head's."""
        pairs, heats = self.refine(feats)
        losses = self.bbox_head.loss(pairs, batch_data_samples)
        return losses | self.keypoint_head.loss(heats, batch_data_samples)

    def predict(self, feats: Sequence[Tensor], batch_data_samples: SampleList, rescale: bool = False) -> InstanceList:
        """The dense head's detections in each image."""
        return self.bbox_head.predict(self.refine(feats)[0], batch_data_samples, rescale=rescale)

    def loss_and_predict(
        self, feats: Sequence[Tensor], batch_data_samples: SampleList, proposal_cfg: dict | None = None
    ) -> tuple[dict[str, Tensor], InstanceList]:
        """Losses as from `loss` and detections, from one run."""
        pairs, heats = self.refine(feats)
        losses, predictions = self.bbox_head.loss_and_predict(pairs, batch_data_samples, proposal_cfg)
        return losses | self.keypoint_head.loss(heats, batch_data_samples), predictions
