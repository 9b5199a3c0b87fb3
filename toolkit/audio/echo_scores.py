"""Figures of an echo canceller in far-end single talk, near-end single talk and double talk."""

from typing import Any

import numpy as np
from mmengine.registry import METRICS
from torch import Tensor

from toolkit.audio.losses import si_sdr
from toolkit.audio.metrics import AudioMetric, erle, pesq, stoi

SILENCE = 1e-10  # power


def scenario_of(targets: Tensor) -> str:
    """What the targets (3, T), near speech, echo and noise, are: "far" or "near" alone or "double" talk."""
    near, echo = (target.square().mean() > SILENCE for target in targets[:2])
    return "double" if near and echo else "near" if near else "far"


def score(
    microphone: Tensor, speech: Tensor, estimate: Tensor, scenario: str, sample_rate: int | None = None
) -> dict[str, float]:
    """Figures of one file; all signals (T,).

    Far-end single talk has the echo return loss enhancement `far_erle` in dB; the other two have `..._si_sdr` and
    `..._si_sdr_improvement` in dB and, at a sample rate of 8 or 16 kHz, `..._pesq` and `..._stoi`.
    """
    if scenario == "far":
        return {"far_erle": float(erle(microphone, estimate))}
    ratio = float(si_sdr(estimate, speech))
    improvement = ratio - float(si_sdr(microphone, speech))
    scores = {f"{scenario}_si_sdr": ratio, f"{scenario}_si_sdr_improvement": improvement}
    if sample_rate:
        scores[f"{scenario}_pesq"] = pesq(estimate.numpy(), speech.numpy(), sample_rate)
        scores[f"{scenario}_stoi"] = stoi(estimate.numpy(), speech.numpy(), sample_rate)
    return scores


@METRICS.register_module()
class EchoScores(AudioMetric):
    """`score` of an `EchoDataset`, mean over the files of each scenario.

    Args:
        sample_rate: in Hz, 8000 or 16000; None leaves PESQ and STOI out.
    """

    default_prefix = "echo"

    def __init__(self, sample_rate: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.sample_rate = sample_rate

    def measure(self, inputs: Tensor, targets: Tensor, estimates: Tensor) -> dict[str, float]:
        return score(inputs[0], targets[0], estimates[0], scenario_of(targets), self.sample_rate)

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        names = sorted({name for result in results for name in result})
        return {name: float(np.nanmean([result[name] for result in results if name in result])) for name in names}
