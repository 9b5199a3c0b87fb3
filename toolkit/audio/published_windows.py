"""How the authors of MossFormer2 and FRCRN take their networks through long audio, in ClearerVoice-Studio.

    windows of W samples every S;  at the inner edges of each (W - S) / 2 samples dropped, the rest put end to end

Windows are joined hard and speakers may change places from one to the next, so the toolkit's own commands work by
`toolkit.audio.pipeline` instead; this rule gives the published outputs, for comparison.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from toolkit.audio.windows import Windows


def padded_length(length: int, window: int, stride: int) -> int:
    """Samples after the published padding, which is often longer than whole windows need."""
    if length < window:
        return window
    if length < window + stride:
        return window + stride
    rest = (length - window) % stride
    return 2 * length - (length - window - rest) // stride * stride if rest else length


def in_windows(
    network: Callable[[Tensor], Tensor],
    signal: Tensor,
    windows: Windows,
    sample_rate: int,
    pad_one_pass: bool = True,
) -> Tensor:
    """A network on padded audio, whole or in windows.

    Args:
        network: (B, T) -> (B, S, T).
        signal: (B, T).
        windows: in seconds.
        sample_rate: in Hz.
        pad_one_pass: whether audio that goes through whole is padded too; not for MossFormer2_SE_48K.

    Returns:
        (B, S, `padded_length`), 0 past the last window's inner part; or as long as the signal, where not padded.
    """
    window, stride = round(windows.window * sample_rate), round(windows.stride * sample_rate)
    drop, length = round(windows.drop * sample_rate), signal.shape[-1]
    padded = F.pad(signal, (0, padded_length(length, window, stride) - length))
    if length <= round(windows.one_pass * sample_rate):
        return network(padded if pad_one_pass else signal)
    parts, done = [], 0
    for start in range(0, padded.shape[-1] - window + 1, stride):
        estimate = network(padded[:, start : start + window])
        parts.append(estimate[..., done - start : window - drop])
        done = start + window - drop
    return F.pad(torch.cat(parts, -1), (0, padded.shape[-1] - done))


def at_mixture_level(estimates: Tensor, mixture: Tensor) -> Tensor:
    """Estimates (B, S, padded length) brought to the RMS of the mixture (B, T), then cut: (B, S, T).

    As published, the RMS of an estimate is over the padded length.
    """
    levels = estimates.square().mean(-1, keepdim=True).sqrt()
    wanted = mixture.square().mean(-1)[:, None, None].sqrt()
    return (estimates * (wanted / levels.clamp(min=1e-12)))[..., : mixture.shape[-1]]
