"""What spatial frequency modulation claims, measured on pictures: less power that would alias, more detail kept.

The resampler is fitted on some pictures, by how much power lies above half the sampling rate after modulation and how
well a picture comes back from half its size, and measured on others.

Power is lost by any bilinear resampling too, whatever it does to frequencies: a shift by half a pixel is measured
beside it. Detail that comes back cannot be gained by blurring.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from toolkit.data.images import read_image
from toolkit.modules.sampling.sfm import AdaptiveResampling, demodulate, stretching

BATCH = 8


@dataclass
class Claim:
    """Means over the measured pictures.

    Attributes:
        power: share of spectral power above half the sampling rate, in the plain pictures.
        power_modulated: the same after modulation.
        power_shifted: the same after a shift by half a pixel, for comparison.
        psnr: dB of pictures brought to half size and back, in the fifth of each picture with most detail.
        psnr_modulated: the same with modulation around it.
        psnr_whole, psnr_whole_modulated: the same over whole pictures.
        least_stretch, most_stretch: extremes of the Jacobian determinant.
    """

    power: float
    power_modulated: float
    power_shifted: float
    psnr: float
    psnr_modulated: float
    psnr_whole: float
    psnr_whole_modulated: float
    least_stretch: float
    most_stretch: float


def read_pictures(paths: list[Path], side: int) -> list[Tensor]:
    """Each picture as (1, 3, H, W) in [0, 1], its longer side brought to `side`, both sides even."""
    pictures = []
    for path in paths:
        image = read_image(path)
        scale = side / max(image.shape[:2])
        size = tuple(max(16, 2 * round(scale * length / 2)) for length in image.shape[1::-1])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        pictures.append(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()[None] / 255)
    return pictures


def high_power(x: Tensor) -> Tensor:
    """Share of the power of each picture's spectrum, mean aside, above half the sampling rate on either axis: (B,)."""
    power = torch.fft.fft2(x - x.mean((2, 3), keepdim=True)).abs().square()
    y, x_ = (torch.fft.fftfreq(n, device=x.device).abs() for n in x.shape[2:])
    high = (y[:, None] > 0.25) | (x_ > 0.25)
    return (power * high).sum((1, 2, 3)) / power.sum((1, 2, 3)).clamp(min=1e-12)


def halve(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True, align_corners=False)


def double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def detailed(x: Tensor) -> Tensor:
    """(B, 1, H, W), true for the fifth of each picture with the most local deviation from the mean of 5x5."""
    detail = (x - F.avg_pool2d(x, 5, 1, 2, count_include_pad=False)).abs().mean(1, keepdim=True)
    detail = F.avg_pool2d(detail, 5, 1, 2, count_include_pad=False)
    return detail >= detail.flatten(1).quantile(0.8, 1)[:, None, None, None]


def psnr(y: Tensor, x: Tensor, where: Tensor) -> Tensor:
    """dB of `y` for each picture `x` where `where` is true."""
    error = (y - x).square().mean(1, keepdim=True)
    return -10 * torch.log10((error * where).sum((1, 2, 3)) / where.sum((1, 2, 3)) + 1e-10)


def fit(pictures: list[Tensor], steps: int, on_step=lambda: None) -> AdaptiveResampling:
    """A resampler fitted on pictures of one size, or of several where the batch then is one picture."""
    generator = torch.Generator().manual_seed(0)
    one_size = len({picture.shape for picture in pictures}) == 1
    resampler = AdaptiveResampling(3)
    optimizer = torch.optim.Adam(resampler.parameters(), 0.05)
    for _ in range(steps):
        chosen = torch.randint(len(pictures), (BATCH if one_size else 1,), generator=generator).tolist()
        x = torch.cat([pictures[index] for index in chosen])
        y, s = resampler(x)
        power = (high_power(y) / high_power(x)).mean()
        error = (demodulate(halve(y), s, x.shape[2:]) - x).square().mean() / (double(halve(x)) - x).square().mean()
        optimizer.zero_grad()
        (power + 2 * error).backward()
        optimizer.step()
        on_step()
    return resampler.eval()


@torch.no_grad()
def measure(resampler: AdaptiveResampling, pictures: list[Tensor], on_picture=lambda: None) -> Claim:
    """The claims on pictures that the resampler was not fitted on."""
    rows = []
    for x in pictures:
        y, s = resampler(x)
        back, plain = demodulate(halve(y), s, x.shape[2:]), double(halve(x))
        where, everywhere, stretch = detailed(x), torch.ones_like(x[:, :1], dtype=torch.bool), stretching(s)
        shifted = F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, 1)
        values = [high_power(x), high_power(y), high_power(shifted), psnr(plain, x, where), psnr(back, x, where)]
        values += [psnr(plain, x, everywhere), psnr(back, x, everywhere)]
        rows.append([*map(float, values), float(stretch.min()), float(stretch.max())])
        on_picture()
    means = np.mean(rows, 0)
    table = np.asarray(rows)
    return Claim(*map(float, means[:7]), float(table[:, 7].min()), float(table[:, 8].max()))


@torch.no_grad()
def draw(resampler: AdaptiveResampling, x: Tensor) -> np.ndarray:
    """A picture, its modulated form with the lines of the even grid, and both ways back from half size: BGR, uint8."""
    y, s = resampler(x)
    height, width = x.shape[2:]
    panels = [x, y, double(halve(x)), demodulate(halve(y), s, (height, width))]
    images = [np.ascontiguousarray((255 * p[0].clamp(0, 1)).permute(1, 2, 0).numpy().astype(np.uint8)) for p in panels]
    lines = s[0].permute(1, 2, 0).numpy() * (width, height)
    step = max(8, max(height, width) // 16)
    for line in [*lines[::step], *lines[:, ::step].swapaxes(0, 1)]:
        cv2.polylines(images[1], [line.round().astype(np.int32)], False, (255, 255, 255), 1, cv2.LINE_AA)
    for image, text in zip(images, ("picture", "modulated", "half size, plain", "half size, modulated"), strict=True):
        for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(image, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness, cv2.LINE_AA)
    return np.vstack([np.hstack(images[:2]), np.hstack(images[2:])])
