"""Small audio networks with known effects, as checkpoints that carry their configs."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from toolkit.audio.spectral import SpectralModel
from toolkit.audio.windows import Windows


@MODELS.register_module()
class TestGain(SpectralModel):
    """Multiplies everything by a weight, 0.5 at first."""

    __test__ = False

    def __init__(self, outputs: tuple[str, ...] = ("speech", "noise")):
        super().__init__(320, 160, 16000, outputs=outputs)
        self.gain = nn.Parameter(torch.tensor(0.5))

    def core(self, spectra, state):
        return torch.cat((spectra * self.gain, spectra * (1 - self.gain)), 1)[:, : len(self.outputs)], state


@MODELS.register_module()
class TestSplit(nn.Module):
    """Parts what lies below 1 kHz from what lies above, at a fifth of its level."""

    __test__ = False
    sample_rate, inputs, outputs = 8000, ("mixture",), ("speaker 1", "speaker 2")
    windows = Windows(one_pass=2, window=2, stride=1.5, drop=0.25)

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.2))

    def forward(self, mixture: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(mixture)
        low = torch.fft.rfftfreq(mixture.shape[-1], 1 / 8000) < 1000
        return self.level * torch.stack([torch.fft.irfft(spectrum * m, n=mixture.shape[-1]) for m in (low, ~low)], 1)


@MODELS.register_module()
class TestSubtract(SpectralModel):
    """The microphone less the reference as it was 10 ms earlier."""

    __test__ = False

    def __init__(self):
        super().__init__(320, 160, 16000, ("microphone", "reference"), ("speech", "echo"))
        self.gain = nn.Parameter(torch.tensor(1.0))

    def core(self, spectra, state):
        reference = spectra[:, 1:]
        last = torch.zeros_like(reference[..., :1]) if state is None else state
        echo = torch.cat((last, reference[..., :-1]), -1) * self.gain
        return torch.cat((spectra[:, :1] - echo, echo), 1), reference[..., -1:]


def _checkpoint(path: Path, kind: str) -> Path:
    weights = MODELS.get(kind)().state_dict()
    text = f"custom_imports = dict(imports=['toolkit'])\nmodel = dict(type='{kind}')\n"
    torch.save({"state_dict": weights, "meta": {"cfg": text}}, path)
    return path


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of `TestGain`, `TestSplit` and `TestSubtract`."""
    folder = tmp_path_factory.mktemp("networks")
    return {kind: _checkpoint(folder / f"{kind}.pth", kind) for kind in ("TestGain", "TestSplit", "TestSubtract")}
