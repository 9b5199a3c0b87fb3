"""CT-D2GAN: the next frame predicted by a convolutional transformer that two discriminators train; its PSNR scores.

Convolutional Transformer based Dual Discriminator Generative Adversarial Networks for Video Anomaly Detection,
ACM MM 2021, arXiv 2107.13720.

A convolutional encoder sees each of T past frames, temporal self-attention joins them, a convolutional decoder predicts
the next frame. In a head of the attention each frame's map of queries and of keys is averaged over space and joined to
an encoding of the frame's position; frame i then weighs the whole maps of values v_j by one number each:

    w_ij = softmax_j(q_i . k_j / sqrt(length of q_i)),    out_i = sum_j w_ij v_j

    generator:       |x - y|^2 + gradient_weight | |dx| - |dy| | + adversarial_weight (D_image(x) - 1)^2
                     + adversarial_weight (D_video(past, x) - 1)^2,   means over pixels; x predicted, y the real frame
    discriminators:  (D(y) - 1)^2 + D(x)^2, each
    score of a frame: -PSNR = 10 log10 of the mean squared error, frames in [0, 1]

No code of the authors is public. The kinds of parts are the paper's; the sizes, the weights of the losses, the least
squares form of the adversarial ones (LSGAN, ICCV 2017, arXiv 1611.04076) and the connections from the encoder of the
last frame to the decoder are this project's own. The gradient loss is that of Mathieu et al., ICLR 2016, arXiv
1511.05440. The paper's scaling of scores to 0..1 in each video is in `toolkit.video.metrics.frame_scores`.
"""

import math
from collections.abc import Sequence
from copy import copy
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.optim import OptimWrapperDict
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate

from toolkit.video.scorer import HEAT, AnomalyScorer, Regions

SLOPE = 0.2  # of every LeakyReLU
POSITION = 8  # length of the encoding of a frame's position
LEAST_ERROR = 1e-10  # mean squared error that counts as none: a PSNR of 100 dB
BATCH = 16  # frames predicted at once


def resize_frames(frames: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Frames (H, W, 3) uint8 as (F, 3, *size) uint8; each pixel is the mean of those it covers."""
    height, width = size
    resized = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack(resized).transpose(0, 3, 1, 2)


# --- generator ------------------------------------------------------------------------------------------------------


def _conv(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True))


class TemporalAttention(nn.Module):
    """A layer of the convolutional transformer: frames weigh each other's maps, then a convolution of each.

    Args:
        channels: C of the maps.
        heads: H, a divisor of C.
        frames: T.
    """

    def __init__(self, channels: int, heads: int, frames: int):
        super().__init__()
        self.heads = heads
        self.query, self.key = (
            nn.Sequential(nn.Conv2d(channels, channels, 1), nn.LeakyReLU(SLOPE, inplace=True)) for _ in range(2)
        )
        self.value = nn.Conv2d(channels, channels, 3, padding=1)
        self.position = nn.Parameter(torch.randn(2, heads, frames, POSITION))  # of queries and of keys
        self.feedforward = _conv(channels, channels)
        self.norm = nn.GroupNorm(1, channels)

    def weights(self, x: Tensor) -> Tensor:
        """Of every frame for every frame, (B, T, C, H, W) -> (B, heads, T, T); sums over the last are 1."""
        pooled = (part(x.flatten(0, 1)).mean((2, 3)).unflatten(0, x.shape[:2]) for part in (self.query, self.key))
        query, key = (
            torch.cat([vector.unflatten(2, (self.heads, -1)).transpose(1, 2), position.expand(len(x), -1, -1, -1)], -1)
            for vector, position in zip(pooled, self.position, strict=True)
        )
        return (query @ key.transpose(2, 3) / math.sqrt(query.shape[3])).softmax(-1)

    def forward(self, x: Tensor, last_only: bool = False) -> Tensor:
        """(B, T, C, H, W) -> the same, or (B, 1, C, H, W) of the last frame alone."""
        first = x.shape[1] - 1 if last_only else 0
        value = self.value(x.flatten(0, 1)).unflatten(0, x.shape[:2]).unflatten(2, (self.heads, -1))
        joined = torch.einsum("bhij,bjhcyx->bihcyx", self.weights(x)[:, :, first:], value).flatten(2, 3)
        joined = (joined + x[:, first:]).flatten(0, 1)
        return self.norm(self.feedforward(joined) + joined).unflatten(0, (len(x), -1))


class Generator(nn.Module):
    """The next frame from the last T.

    Args:
        frames: T.
        channels: of the maps at full, half and quarter size.
        heads: of the attention.
        layers: of the attention.
    """

    def __init__(self, frames: int, channels: tuple[int, int, int], heads: int, layers: int):
        super().__init__()
        full, half, quarter = channels
        self.encoder = nn.ModuleList(
            [
                _conv(3, full),
                nn.Sequential(nn.AvgPool2d(2), _conv(full, half)),
                nn.Sequential(nn.AvgPool2d(2), _conv(half, quarter), _conv(quarter, quarter)),
            ]
        )
        self.attention = nn.ModuleList(TemporalAttention(quarter, heads, frames) for _ in range(layers))
        self.up = nn.ModuleList([_conv(quarter, half), _conv(half, full)])
        self.join = nn.ModuleList([_conv(2 * half, half), _conv(2 * full, full)])
        self.out = nn.Conv2d(full, 3, 3, padding=1)

    def encode(self, frames: Tensor) -> list[Tensor]:
        """Maps of frames (N, 3, H, W) in [0, 1], each by itself: (N, C, H, W) at full, half and quarter size."""
        maps = [frames - 0.5]
        for part in self.encoder:
            maps.append(part(maps[-1]))
        return maps[1:]

    def decode(self, full: Tensor, half: Tensor, quarter: Tensor) -> Tensor:
        """The next frame (B, 3, H, W).

        Args:
            full: (B, C, H, W) of the last frame, as is `half`.
            half: (B, C', H/2, W/2).
            quarter: (B, T, C'', H/4, W/4) of all frames.
        """
        for number, layer in enumerate(self.attention, 1):
            quarter = layer(quarter, last_only=number == len(self.attention))
        x = quarter[:, -1]
        for up, join, skip in zip(self.up, self.join, (half, full), strict=True):
            x = join(torch.cat([interpolate(up(x), scale_factor=2), skip], 1))
        return self.out(x) + 0.5

    def forward(self, past: Tensor) -> Tensor:
        """(B, T, 3, H, W) in [0, 1] -> (B, 3, H, W)."""
        full, half, quarter = (part.unflatten(0, past.shape[:2]) for part in self.encode(past.flatten(0, 1)))
        return self.decode(full[:, -1], half[:, -1], quarter)


# --- discriminators -------------------------------------------------------------------------------------------------


class Discriminators(nn.Module):
    """One looks at single frames, one at sequences; each gives a map of how real the places of a frame look.

    Args:
        channels: of the maps at half, quarter and eighth size, of the image discriminator and of the video one.
    """

    def __init__(self, channels: tuple[tuple[int, int, int], tuple[int, int, int]]):
        super().__init__()
        (a, b, c), (d, e, f) = channels
        self.image = nn.Sequential(
            nn.Conv2d(3, a, 4, 2, 1), nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(b, c, 4, 2, 1), nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(c, 1, 3, 1, 1),
        )  # fmt: skip
        kernel, stride, padding = (3, 4, 4), (1, 2, 2), (1, 1, 1)
        self.video = nn.Sequential(
            nn.Conv3d(3, d, kernel, stride, padding), nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv3d(d, e, kernel, stride, padding), nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv3d(e, f, kernel, stride, padding), nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv3d(f, 1, 3, 1, 1),
        )  # fmt: skip

    def forward(self, past: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Of `frame` (B, 3, H, W): (B, 1, h, w); of it behind `past` (B, T, 3, H, W): (B, 1, T + 1, h, w)."""
        sequence = torch.cat([past, frame.unsqueeze(1)], 1).transpose(1, 2)
        return self.image(frame - 0.5), self.video(sequence - 0.5)


# --- method ---------------------------------------------------------------------------------------------------------


@MODELS.register_module()
class CTD2GAN(AnomalyScorer):
    """Score frames by how badly they are predicted from those before; whole frames, for objects of any size.

    Training takes a wrapper of two optimizers, `generator` and `discriminators` (see `OptimizersByPart`).

    Args:
        size: height and width that frames are brought to, multiples of 8.
        frames: T, how many past frames predict the next.
        channels: of the generator's maps at full, half and quarter size.
        heads: of the attention.
        layers: of the attention.
        discriminator_channels: see `Discriminators`.
        gradient_weight: of the gradient loss.
        adversarial_weight: of each discriminator's part in the generator's loss.
        patch: pixels (of `size`) on a side of a square; a frame's error is then that of its worst square instead of
            the whole, in which small oddities vanish. Squares overlap by half. Twice a divisor of both sides.
        max_side: see `AnomalyScorer`.
        smooth_seconds: see `AnomalyScorer`.
    """

    parts = ("mse",)
    after = 0

    def __init__(
        self,
        size: tuple[int, int] = (64, 112),
        frames: int = 4,
        channels: tuple[int, int, int] = (16, 32, 64),
        heads: int = 4,
        layers: int = 2,
        discriminator_channels: tuple[tuple[int, int, int], tuple[int, int, int]] = ((16, 32, 64), (8, 16, 32)),
        gradient_weight: float = 0.2,
        adversarial_weight: float = 0.001,
        patch: int | None = None,
        max_side: int = 640,
        smooth_seconds: float = 0.0,
    ):
        super().__init__(max_side, smooth_seconds)
        if any(side % 8 for side in size):
            raise ValueError(f"CTD2GAN: size must be multiples of 8, got {tuple(size)}")
        if patch is not None and (patch % 2 or patch > min(size) or any(side % (patch // 2) for side in size)):
            raise ValueError(f"CTD2GAN: patch must be twice a divisor of both sides of size, got {patch}")
        self.size, self.frames, self.patch = tuple(size), frames, patch
        self.gradient_weight, self.adversarial_weight = gradient_weight, adversarial_weight
        self.before = self.warm_up = frames
        self.generator = Generator(frames, tuple(channels), heads, layers)
        self.discriminators = Discriminators(discriminator_channels)

    def forward(self, frames: Tensor, mode: str = "tensor") -> Any:
        """The frame that follows, or the generator's losses.

        Args:
            frames: (B, T, 3, *size) uint8 BGR; (B, T + 1, 3, *size) for mode "loss".
            mode: "loss" for a dict of losses, else the frame.

        Returns:
            (B, 3, *size) in [0, 1], but for errors of the network; or a dict.
        """
        frames = frames.float() / 255
        if mode != "loss":
            return self.generator(frames)
        past, real = frames[:, :-1], frames[:, -1]
        return self.generator_losses(past, self.generator(past), real)

    def generator_losses(self, past: Tensor, predicted: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Losses of frames (B, 3, H, W) predicted from `past` (B, T, 3, H, W); all in [0, 1]."""
        image, video = self.discriminators(past, predicted)
        return {
            "loss_intensity": (predicted - real).square().mean(),
            "loss_gradient": self.gradient_weight * gradient_loss(predicted, real),
            "loss_image": self.adversarial_weight * (image - 1).square().mean(),
            "loss_video": self.adversarial_weight * (video - 1).square().mean(),
        }

    def discriminator_losses(self, past: Tensor, predicted: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Losses of telling `predicted` from `real`, shapes as in `generator_losses`; no gradient to the generator."""
        both = self.discriminators(torch.cat([past, past]), torch.cat([predicted.detach(), real]))
        losses = {}
        for name, judged in zip(("image", "video"), both, strict=True):
            of_predicted, of_real = judged.chunk(2)
            losses[f"loss_{name}_discriminator"] = of_predicted.square().mean() + (of_real - 1).square().mean()
        return losses

    def train_step(self, data: dict[str, Tensor], optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """A step of the discriminators, then one of the generator.

        Args:
            data: `frames` (B, T + 1, 3, *size) uint8 BGR.
            optim_wrapper: of `generator` and `discriminators`.

        Returns:
            All losses; `loss` is the generator's.
        """
        frames = self.data_preprocessor(data, True)["frames"].float() / 255
        past, real = frames[:, :-1], frames[:, -1]
        for_generator, for_discriminators = optim_wrapper["generator"], optim_wrapper["discriminators"]
        with for_generator.optim_context(self.generator):
            predicted = self.generator(past)
        with for_discriminators.optim_context(self.discriminators):
            loss, told = self.parse_losses(self.discriminator_losses(past, predicted, real))
        for_discriminators.update_params(loss)
        told.pop("loss")
        with for_generator.optim_context(self.generator):
            loss, of_generator = self.parse_losses(self.generator_losses(past, predicted, real))
        for_generator.update_params(loss)
        for_discriminators.zero_grad()  # the generator's loss went through them
        return {**of_generator, **told}

    def measure(self, frames: Sequence[np.ndarray], targets: range) -> list[Regions | None]:
        """See `AnomalyScorer`. One region a frame, the whole or its worst patch; None without T frames before it."""
        first = max(targets.start, self.frames)
        found: list[Regions | None] = [None] * min(first - targets.start, len(targets))
        scale = np.divide(frames[0].shape[:2], self.size)[::-1]
        for start in range(first, targets.stop, BATCH):
            stop = min(start + BATCH, targets.stop)
            seen = resize_frames(frames[start - self.frames : stop], self.size)
            errors = self._squared_errors(torch.from_numpy(seen).to(self.device).float() / 255)
            found += [self._region(one, scale) for one in errors]
        return found

    def _squared_errors(self, frames: Tensor) -> Tensor:
        """Of all frames (F, 3, H, W) but the first T: (F - T, H, W), means over colours."""
        network = getattr(self.generator, "module", self.generator)  # training in several processes wraps it
        full, half, quarter = network.encode(frames)
        windows = quarter.unfold(0, self.frames, 1)[:-1].movedim(-1, 1)
        last = slice(self.frames - 1, -1)
        predicted = network.decode(full[last], half[last], windows)
        return (predicted - frames[self.frames :]).square().mean(1)

    def _region(self, error: Tensor, scale: np.ndarray) -> Regions:
        (x, y), (height, width) = (0, 0), self.size
        if self.patch is not None:
            means = avg_pool2d(error[None], self.patch, self.patch // 2)[0]
            y, x = (int(index) * (self.patch // 2) for index in divmod(int(means.argmax()), means.shape[1]))
            height = width = self.patch
        error = error[y : y + height, x : x + width]
        box = np.array([[x, y, x + width, y + height]]) * np.tile(scale, 2)
        heat = adaptive_avg_pool2d(error[None], HEAT)
        return Regions(box.astype(np.float32), error.mean().reshape(1, 1).cpu().numpy(), heat.cpu().numpy())

    def region_scores(self, errors: np.ndarray) -> np.ndarray:
        """Scores (N,): minus the PSNR in dB, for a peak of 1."""
        return 10 * np.log10(np.maximum(errors[:, 0].astype(np.float64), LEAST_ERROR))

    def variants(self) -> list[tuple[str, "CTD2GAN"]]:
        """The whole frame and, where it is asked for, the worst patch."""
        found = []
        for patch in dict.fromkeys((None, self.patch)):
            variant = copy(self)
            variant.patch = patch
            found.append(("worst patch" if patch else "whole frame", variant))
        return found

    def measure_settings(self) -> dict[str, Any]:
        return {"patch": self.patch}


def gradient_loss(predicted: Tensor, real: Tensor) -> Tensor:
    """Mean difference of the absolute differences of neighbouring pixels of (B, C, H, W), down plus across."""
    return sum((predicted.diff(dim=axis).abs() - real.diff(dim=axis).abs()).abs().mean() for axis in (2, 3))
