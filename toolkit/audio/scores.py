"""How close recordings are to the clean ones, whatever their rates, channels and lengths.

Perceptual Evaluation of Speech Quality (PESQ), ICASSP 2001, https://doi.org/10.1109/ICASSP.2001.941023
An Algorithm for Intelligibility Prediction of Time-Frequency Weighted Noisy Speech (STOI), IEEE Transactions on Audio,
Speech, and Language Processing 2011, https://doi.org/10.1109/TASL.2011.2114881
"""

import math
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from toolkit.audio.losses import si_sdr
from toolkit.audio.resampling import resample
from toolkit.errors import UserError


def need(package: str) -> ModuleType:
    """The package `pesq` or `pystoi`. Raises `UserError` where it is not installed."""
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(
            f"measuring needs {package}: pip install 'toolkit[audio]' (or pip install {package})"
        ) from error


def pesq(estimate: np.ndarray, clean: np.ndarray, rate: int) -> float:
    """PESQ (ITU-T P.862), 1 to 4.6, of (T,) and (T,): wide band, or narrow band at rates below 16 kHz.

    NaN where it finds no speech. Raises `UserError` where the package is not installed.
    """
    package = need("pesq")
    band, mode = (16000, "wb") if rate >= 16000 else (8000, "nb")
    pair = [resample(wav, rate, band) for wav in (clean, estimate)]
    try:
        return float(package.pesq(band, *pair, mode))
    except (package.PesqError, ValueError):
        return math.nan


def stoi(estimate: np.ndarray, clean: np.ndarray, rate: int) -> float:
    """STOI, 0 to 1, of (T,) and (T,). NaN where there is too little speech.

    Raises `UserError` where the package is not installed.
    """
    package = need("pystoi")
    if not clean.any():
        return math.nan
    with warnings.catch_warnings(record=True) as too_little:  # the package's way to say so
        warnings.simplefilter("always")
        value = float(package.stoi(clean, estimate, rate))
    return math.nan if too_little else value


def scores(estimate: np.ndarray, clean: np.ndarray, rate: int) -> dict[str, float]:
    """SI-SDR, PESQ and STOI: means over the channels that both have, over the length of the shorter.

    Args:
        estimate: (C, T).
        clean: (C', T').
        rate: of both, in Hz.

    Raises:
        UserError: pesq or pystoi is not installed.
    """
    length = min(estimate.shape[1], clean.shape[1])
    pairs = [(one[:length], other[:length]) for one, other in zip(estimate, clean, strict=False)]
    rows = [(_si_sdr(*pair), pesq(*pair, rate), stoi(*pair, rate)) for pair in pairs]
    return dict(zip(("SI-SDR dB", "PESQ", "STOI"), np.mean(rows, 0).tolist(), strict=True))


def best_order(estimates: Sequence[np.ndarray], cleans: Sequence[np.ndarray]) -> list[int]:
    """For each of `cleans` (C, T) the number of the estimate that is it: the order of the highest mean SI-SDR.

    The first channels count.
    """
    length = min(wav.shape[1] for wav in (*estimates, *cleans))
    fit = np.array([[_si_sdr(one[0, :length], other[0, :length]) for one in estimates] for other in cleans])
    return linear_sum_assignment(np.nan_to_num(fit), maximize=True)[1].tolist()


def _si_sdr(estimate: np.ndarray, clean: np.ndarray) -> float:
    return float(si_sdr(torch.from_numpy(estimate), torch.from_numpy(clean)))
