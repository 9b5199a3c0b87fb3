"""Measures of audio: SI-SDR and its improvement, PESQ, STOI, echo return loss enhancement."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from torch import Tensor

from toolkit.audio.losses import best_order, si_sdr
from toolkit.audio.scores import pesq, stoi


def erle(microphone: Tensor, residual: Tensor) -> Tensor:
    """Echo return loss enhancement in dB, for stretches with the far end alone: (..., T), (..., T) -> (...)."""
    tiny = torch.finfo(torch.float32).tiny
    return 10 * torch.log10((microphone.square().sum(-1) + tiny) / (residual.square().sum(-1) + tiny))


class AudioMetric(BaseMetric):
    """A mean over files. A subclass writes `measure`."""

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[Tensor]) -> None:
        for inputs, targets, estimates in zip(data_batch["inputs"], data_batch["targets"], data_samples, strict=True):
            estimates = estimates[: len(targets)].float().cpu()
            self.results.append(self.measure(inputs.float().cpu(), targets.float().cpu(), estimates))

    def measure(self, inputs: Tensor, targets: Tensor, estimates: Tensor) -> dict[str, float]:
        """Figures of one file; all (signals, T)."""
        raise NotImplementedError

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        return {name: float(np.nanmean([result[name] for result in results])) for name in results[0]}


@METRICS.register_module()
class SISDR(AudioMetric):
    """SI-SDR in dB and its improvement over the first input, mean over the signals of a file, then over files.

    Outputs are paired with the targets in the order that fits best.
    """

    default_prefix = "audio"

    def measure(self, inputs: Tensor, targets: Tensor, estimates: Tensor) -> dict[str, float]:
        before = si_sdr(inputs[:1], targets).mean()
        after = best_order(si_sdr(estimates[:, None], targets[None])[None])[0]
        return {"si_sdr_improvement": float(after - before), "si_sdr": float(after)}


@METRICS.register_module()
class Perceptual(AudioMetric):
    """PESQ and STOI of the first output, as it is ordered.

    Args:
        sample_rate: in Hz, 8000 or 16000.
    """

    default_prefix = "audio"

    def __init__(self, sample_rate: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.sample_rate = sample_rate

    def measure(self, inputs: Tensor, targets: Tensor, estimates: Tensor) -> dict[str, float]:
        estimate, target = estimates[0].numpy(), targets[0].numpy()
        return {"pesq": pesq(estimate, target, self.sample_rate), "stoi": stoi(estimate, target, self.sample_rate)}


@METRICS.register_module()
class ERLE(AudioMetric):
    """Echo return loss enhancement in dB of the first output, for data with the far end alone."""

    default_prefix = "audio"

    def measure(self, inputs: Tensor, targets: Tensor, estimates: Tensor) -> dict[str, float]:
        return {"erle": float(erle(inputs[0], estimates[0]))}
