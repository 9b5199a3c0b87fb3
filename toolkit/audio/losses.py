"""Losses of audio networks, from estimates and targets as waveforms.

All take (B, S, T) tensors in [-1, 1] and give a number to be made small.
"""

from itertools import permutations

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


def si_sdr(estimate: Tensor, target: Tensor, limit: float | None = None) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB: (..., T), (..., T) -> (...).

    SDR - half-baked or well done?, ICASSP 2019, arXiv 1811.02508. Means are removed. With s the projection of the
    estimate on the target and e the rest of the estimate:

        10 log10(|s|^2 / (|e|^2 + 10^(-limit / 10) |s|^2))

    Args:
        limit: in dB, what the value approaches and does not exceed, so that signals which are good already pull no
            more; None for none.
    """
    estimate = estimate.float() - estimate.float().mean(-1, keepdim=True)
    target = target.float() - target.float().mean(-1, keepdim=True)
    tiny = torch.finfo(torch.float32).eps
    scale = (estimate * target).sum(-1, keepdim=True) / (target.square().sum(-1, keepdim=True) + tiny)
    kept = (scale * target).square().sum(-1)
    rest = (estimate - scale * target).square().sum(-1)
    if limit is not None:
        rest = rest + 10 ** (-limit / 10) * kept
    return 10 * torch.log10((kept + tiny) / (rest + tiny))


def best_order(values: Tensor) -> tuple[Tensor, Tensor]:
    """The pairing of estimates with targets that has the highest mean: (B, S estimates, S targets) -> (B,), (B, S).

    Returns:
        The means, and for each target the estimate that it is paired with.
    """
    orders = torch.tensor(list(permutations(range(values.shape[-1]))), device=values.device)  # (S!, S)
    means = values[:, orders, torch.arange(values.shape[-1], device=values.device)].mean(-1)  # (B, S!)
    best, index = means.max(-1)
    return best, orders[index]


@MODELS.register_module()
class SISDRLoss(nn.Module):
    """Negative SI-SDR in dB, mean over batch and signals.

    Args:
        permute: take the pairing of outputs with targets that fits best, for separation, where their order means
            nothing: utterance-level permutation-invariant training, arXiv 1703.06284.
        limit: see `si_sdr`.
        loss_weight: factor.
    """

    def __init__(self, permute: bool = False, limit: float | None = None, loss_weight: float = 1.0):
        super().__init__()
        self.permute, self.limit, self.loss_weight = permute, limit, loss_weight

    def forward(self, estimates: Tensor, targets: Tensor) -> Tensor:
        if not self.permute:
            return -self.loss_weight * si_sdr(estimates, targets, self.limit).mean()
        values = si_sdr(estimates[:, :, None], targets[:, None], self.limit)
        return -self.loss_weight * best_order(values)[0].mean()


@MODELS.register_module()
class CompressedSpectrumLoss(nn.Module):
    """Squared distance of spectra whose magnitudes are raised to a power, with and without phase.

    Looking to Listen at the Cocktail Party, SIGGRAPH 2018, arXiv 1804.03619; the mixture of both terms as in A
    Consolidated View of Loss Functions for Supervised Deep Learning-based Speech Enhancement, arXiv 2009.12286.

        mean over windows of  (1 - phase) mean (|S|^p - |T|^p)^2 + phase mean | |S|^p S/|S| - |T|^p T/|T| |^2

    Signals are first scaled by the level of the target, so that quiet recordings count as much as loud ones.

    Args:
        window_sizes: of the spectra, in samples; hops are a half of them.
        power: p.
        phase: share of the term with phase.
        loss_weight: factor.
    """

    def __init__(
        self,
        window_sizes: tuple[int, ...] = (512,),
        power: float = 0.3,
        phase: float = 0.3,
        loss_weight: float = 1.0,
    ):
        super().__init__()
        self.window_sizes, self.power, self.phase, self.loss_weight = tuple(window_sizes), power, phase, loss_weight

    def forward(self, estimates: Tensor, targets: Tensor) -> Tensor:
        level = targets.square().mean((-1, -2), keepdim=True).sqrt().clamp(min=1e-4)
        signals = torch.stack((estimates.float(), targets.float())).div(level).flatten(0, 2)
        loss = 0.0
        for size in self.window_sizes:
            window = torch.hann_window(size, device=signals.device)
            spectra = torch.stft(signals, size, size // 2, window=window, return_complex=True)
            power = spectra.real**2 + spectra.imag**2 + 1e-4
            magnitude = power ** (self.power / 2)
            compressed = spectra * (magnitude / power.sqrt())
            one, other = magnitude.chunk(2)
            loss = loss + (1 - self.phase) * (one - other).square().mean()
            one, other = torch.view_as_real(compressed).chunk(2)
            loss = loss + self.phase * (one - other).square().sum(-1).mean()
        return self.loss_weight * loss / len(self.window_sizes)
