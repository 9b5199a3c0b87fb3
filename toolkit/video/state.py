"""STATE: objects of a video rebuilt from their own frames and turned into optical flow; what comes out badly is odd.

Making Reconstruction-based Method Great Again for Video Anomaly Detection (Spatio-Temporal Auto-Trans-Encoder),
ICDM 2022, arXiv 2301.12048.

An object is one box cut from T frames. Two streams without shared weights read these frames: one gives them back, one
gives the flow of each. A stream is a convolutional encoder on every frame, transformer layers over the frames whose
projections are convolutions, and a decoder on every frame. In a head, with f = LeakyReLU(conv), frames i and j and
their learned positions p

    q_i = f_q(x_i)     k_i = v_i = f_kv(x_i)     s_ij = LeakyReLU(conv([q_i + p_i, k_j + p_j]))
    out_i = sum_j softmax_j(s_ij) v_j             at each pixel on its own, without a scale

A convolution of the joined [q_i, k_j] is the sum of one of q_i and one of k_j, so that T of each serve all T * T pairs.

An object is scored after a step that makes normal objects easier to rebuild, x' = x - epsilon sign(dL/dx) with
L = mean (x - raw(x))^2 + mean (flow - flow(x))^2, where x counts as input and as target. Its errors are the squared
differences of raw(x') to x' and of flow(x') to the flow, summed over frames, channels and pixels.

    object = w_raw (raw - mean) / std + w_flow (flow - mean) / std      means and deviations over normal objects
    frame  = the largest of its objects

Published checkpoints load as they are. They also hold parameters that no forward pass reads: the layer from which all
others were copied, and a convolution in every head. These are accepted and left out, so that a model here has 744,200
parameters fewer than the published one of 3 layers (3,312,261) and 892,168 fewer than that of 5 (4,356,757).
"""

import copy
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu, max_pool2d

from toolkit.video.foreground import pixel_boxes
from toolkit.video.metrics import NO_OBJECT

Pair = tuple[Tensor, Tensor]  # of frames and of flow
SLOPE = 0.2  # of every LeakyReLU


class ConvBlock(nn.Sequential):
    """Twice a 3x3 convolution, BatchNorm and ReLU: (N, in_channels, H, W) -> (N, out_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class AttentionHead(nn.Module):
    """The weights of one head; `attend` runs all heads of a layer at once.

    Args:
        channels: C of the head, of its queries and of its values.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.query = nn.Conv2d(channels, channels, 3, padding=1)
        self.key_value = nn.Conv2d(channels, channels, 3, padding=1)
        self.score = nn.Conv2d(2 * channels, 1, 3, padding=1)


def attend(heads: Sequence[AttentionHead], x: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """All heads of a layer, each on its slice of the channels.

    Args:
        heads: n of them, with c channels each.
        x: (B, T, n * c, H, W).
        position: (T, c, H, W), or (T, c, 1, 1) where it is the same at each pixel; the same for all heads.

    Returns:
        What the heads give, (B, T, n * c, H, W), and their weights (B, n, T, T, H, W): query frame, then key frame.
    """
    batch, frames, channels, height, width = x.shape
    count = len(heads)
    size = channels // count
    weight = torch.cat([conv.weight for head in heads for conv in (head.query, head.key_value)])
    bias = torch.cat([conv.bias for head in heads for conv in (head.query, head.key_value)])
    maps = leaky_relu(conv2d(x.flatten(0, 1), weight, bias, padding=1, groups=count), SLOPE, inplace=True)
    values = maps.unflatten(1, (count, 2, size))[:, :, 1].unflatten(0, (batch, frames))

    # each head's scores of its queries and of its keys: two convolutions of their own maps, as one without groups
    halves = torch.stack([head.score.weight.reshape(2, size, 3, 3) for head in heads])  # (n, query or key, c, 3, 3)
    spread = torch.block_diag(*halves.view(2 * count, size * 9)).view(2 * count, 2 * channels, 3, 3)
    place = position.expand(-1, -1, height, width)
    of_place = conv2d(place, halves.view(2 * count, size, 3, 3), padding=1)  # (T, 2 n, H, W)
    scores = conv2d(maps, spread, padding=1).unflatten(0, (batch, frames)) + of_place
    scores = scores.unflatten(2, (count, 2)).movedim(1, 3)  # (B, n, 2, T, H, W)
    offset = torch.cat([head.score.bias for head in heads]).view(count, 1, 1, 1, 1)
    pairs = scores[:, :, 0, :, None] + scores[:, :, 1, None] + offset
    weights = leaky_relu(pairs, SLOPE).softmax(3)
    return torch.einsum("bnijhw,bjnchw->binchw", weights, values).flatten(2, 3), weights


class TemporalLayer(nn.Module):
    """Attention over the frames and a convolution on each, both with a residual, then GroupNorm.

    Args:
        channels: C, of which each head gets an equal part.
        heads: their number.
        groups: of the norm.
    """

    def __init__(self, channels: int, heads: int, groups: int):
        super().__init__()
        first = AttentionHead(channels // heads)
        self.heads = nn.ModuleList(copy.deepcopy(first) for _ in range(heads))  # all start alike, as published
        self.feedforward = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(groups, channels)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:  # (B, T, C, H, W), (T, C / heads, 1, 1) -> as x
        attended = (attend(self.heads, x, position)[0] + x).flatten(0, 1)
        fed = leaky_relu(self.feedforward(attended), SLOPE, inplace=True)
        return self.norm(fed + attended).unflatten(0, x.shape[:2])


class TemporalEncoder(nn.Module):
    """Transformer layers that share one learned table of frame positions.

    Args:
        layers: their number.
        channels: C.
        heads: of each layer; C is a multiple of it.
        positions: the most frames of an object.
        groups: of the GroupNorm of each layer.
    """

    def __init__(self, layers: int, channels: int, heads: int = 4, positions: int = 10, groups: int = 4):
        super().__init__()
        if channels % heads:
            raise ValueError(f"STATE: heads must divide the last of channels, got heads={heads} for {channels}")
        self.position = nn.Embedding(positions, channels // heads)
        first = TemporalLayer(channels, heads, groups)
        self.layers = nn.ModuleList(copy.deepcopy(first) for _ in range(layers))  # all start alike, as published

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C, H, W) -> (B, T, C, H, W)
        if x.shape[1] > self.position.num_embeddings:
            raise ValueError(f"STATE: {x.shape[1]} frames, but positions={self.position.num_embeddings}")
        position = self.position.weight[: x.shape[1], :, None, None]
        for layer in self.layers:
            x = layer(x, position)
        return x


class UpBlock(nn.Module):
    """Twice the size by a transposed convolution, then a ConvBlock."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, in_channels, 3, stride=2, padding=1, output_padding=1)
        self.conv = ConvBlock(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:  # (N, in_channels, H, W) -> (N, out_channels, 2 H, 2 W)
        return self.conv(self.up(x))


class Stream(nn.Module):
    """Frames in, one map of `out_channels` for each frame out: encoder, temporal encoder, decoder.

    Args:
        out_channels: 3 for frames, 2 for flow.
        channels: of the encoder's stages, each at half the resolution of the one before.
        temporal: arguments of TemporalEncoder.
    """

    def __init__(self, out_channels: int, channels: Sequence[int], **temporal: int):
        super().__init__()
        steps = list(pairwise(channels))
        self.encoder = nn.ModuleList(ConvBlock(*step) for step in [(3, channels[0]), *steps])
        self.temporal = TemporalEncoder(channels=channels[-1], **temporal)
        self.decoder = nn.ModuleList(UpBlock(wide, narrow) for narrow, wide in reversed(steps))
        self.out = nn.Conv2d(channels[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, 3, H, W) -> (B, T, out_channels, H, W)
        sizes = x.shape[:2]
        x = self.encoder[0](x.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        for stage in self.encoder[1:]:
            x = stage(max_pool2d(x, 2))
        x = self.temporal(x.unflatten(0, sizes)).flatten(0, 1)
        for stage in self.decoder:
            x = stage(x)
        return self.out(x).unflatten(0, sizes)


@MODELS.register_module()
class STATE(nn.Module):
    """The two streams.

    Args:
        layers: of each temporal encoder; 3 published for Avenue, 5 for ShanghaiTech.
        channels: of the encoder's stages.
        heads: of each temporal layer.
        positions: the most frames of an object.
        groups: of the GroupNorm of each temporal layer.
    """

    def __init__(
        self,
        layers: int = 3,
        channels: Sequence[int] = (32, 64, 128),
        heads: int = 4,
        positions: int = 10,
        groups: int = 4,
    ):
        super().__init__()
        temporal = dict(layers=layers, heads=heads, positions=positions, groups=groups)
        self.raw = Stream(3, channels, **temporal)
        self.flow = Stream(2, channels, **temporal)
        self.divisor = 2 ** (len(channels) - 1)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Rebuild objects and predict their flow.

        Args:
            patches: (B, T, 3, H, W), BGR in [0, 1]; 32x32 published, any multiple of 2^(stages - 1) will do.

        Returns:
            The frames (B, T, 3, H, W) and their flow (B, T, 2, H, W) in pixels per frame.

        Raises:
            ValueError: a side is no such multiple, or there are more frames than positions.
        """
        height, width = patches.shape[-2:]
        if height % self.divisor or width % self.divisor:
            raise ValueError(f"STATE: patches of {height}x{width}; both sides must be multiples of {self.divisor}")
        return self.raw(patches), self.flow(patches)


def reconstruction_loss(outputs: Pair, targets: Pair) -> Tensor:
    """Mean squared error of the frames plus that of the flow, which is also the loss in training."""
    return sum((target - output).square().mean() for output, target in zip(outputs, targets, strict=True))


def summed_errors(outputs: Pair, targets: Pair) -> Pair:
    """Squared errors of frames and of flow, summed over all but the objects: two of (B,)."""
    pairs = zip(outputs, targets, strict=True)
    raw, flow = ((target - output).square().flatten(1).sum(1) for output, target in pairs)
    return raw, flow


def perturbed(model: nn.Module, patches: Tensor, flow: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Objects after a step of `epsilon` towards a smaller loss, and the loss's gradient: two of (B, T, 3, H, W).

    As published, the gradient also flows through the frames as the target, and the result is not cut to [0, 1].
    Only the gradient of the patches is computed, none of the weights.
    """
    with torch.enable_grad():
        patches = patches.detach().requires_grad_()
        loss = reconstruction_loss(model(patches), (patches, flow))
        (gradient,) = torch.autograd.grad(loss, patches)
    return patches.detach() - epsilon * gradient.sign(), gradient


def rebuilt(model: nn.Module, patches: Tensor, flow: Tensor, epsilon: float = 0.0) -> tuple[Pair, Pair]:
    """What objects are scored by: the network's outputs and their targets, after a step of `epsilon`.

    Args:
        model: in eval mode, in which objects do not influence each other.
        patches: (B, T, 3, H, W), BGR in [0, 1].
        flow: (B, T, 2, H, W).
        epsilon: in units of the patches; 0 for none.
    """
    if epsilon:
        patches, _ = perturbed(model, patches, flow, epsilon)
    with torch.no_grad():
        return model(patches), (patches, flow)


def standardised(errors: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Errors (N, P) in deviations of normal objects, whose `mean` and population deviation `std` are (P,)."""
    return (np.asarray(errors, np.float64) - mean) / np.maximum(std, 1e-12)  # all alike: no division by 0


def frame_score(scores: np.ndarray, boxes: np.ndarray, size: tuple[int, int], empty: float = NO_OBJECT) -> float:
    """The largest score of a frame's objects.

    Args:
        scores: (N,) of the objects.
        boxes: (N, 4), x1 y1 x2 y2 in pixels; one that covers no pixel of the frame does not count.
        size: (height, width) of the frame in pixels.
        empty: what a frame without objects gets, and the least that any frame gets.
    """
    x1, y1, x2, y2 = pixel_boxes(boxes, size).T
    counted = np.asarray(scores, np.float64)[(x2 > x1) & (y2 > y1)]
    return float(counted.max(initial=empty))
