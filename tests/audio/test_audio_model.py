"""AudioModel: losses add up, gradients reach the network, metrics pair speakers."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from toolkit.audio.metrics import ERLE, SISDR
from toolkit.audio.model import AudioModel


@MODELS.register_module(force=True)
class TwoGains(nn.Module):
    """Two outputs, each the mixture times a weight."""

    sample_rate, inputs, outputs = 8000, ("mixture",), ("speaker 1", "speaker 2")

    def __init__(self):
        super().__init__()
        self.gains = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, mixture):
        return self.gains[:, None] * mixture[:, None]


def test_losses_and_gradients():
    loss = [dict(type="SISDRLoss", permute=True), dict(type="CompressedSpectrumLoss", loss_weight=2.0)]
    model = AudioModel(dict(type="TwoGains"), loss)
    inputs, targets = torch.randn(2, 1, 2000), torch.randn(2, 2, 2000)
    losses = model(inputs, targets, mode="loss")
    assert set(losses) == {"loss_SISDRLoss", "loss_CompressedSpectrumLoss"}
    losses["loss_CompressedSpectrumLoss"].backward()
    assert model.network.gains.grad.abs().min() > 0
    torch.testing.assert_close(model(inputs, mode="predict"), torch.cat((inputs, 2 * inputs), 1))


def test_only_the_outputs_that_have_targets_count():
    model = AudioModel(dict(type="TwoGains"), dict(type="SISDRLoss"))
    inputs = torch.randn(1, 1, 500)
    assert model(inputs, inputs, mode="loss")["loss_SISDRLoss"] < -60


def test_metric_takes_the_best_order():
    torch.manual_seed(0)
    targets = torch.randn(1, 2, 8000)
    estimates = targets.flip(1) + 0.1 * torch.randn(1, 2, 8000)
    metric = SISDR()
    metric.process(dict(inputs=targets.sum(1, keepdim=True), targets=targets), list(estimates))
    figures = metric.evaluate(1)
    assert figures["audio/si_sdr"] == pytest.approx(20, abs=0.3)
    assert figures["audio/si_sdr_improvement"] == pytest.approx(20, abs=0.6)  # the mixture of two equals is at 0 dB


def test_erle_of_a_tenth():
    metric = ERLE()
    microphone = torch.randn(1, 2, 800)
    metric.process(dict(inputs=microphone, targets=microphone[:, :1]), [0.1 * microphone[0, :1]])
    assert metric.evaluate(1)["audio/erle"] == pytest.approx(20, abs=1e-3)
