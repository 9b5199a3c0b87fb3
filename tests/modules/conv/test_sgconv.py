"""SGConv: equality with a convolution written out, direction, decay_range, norms, cost."""

import time

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import toolkit  # noqa: F401
from toolkit.modules.conv.sgconv import SGConv

CASES = [
    (dict(l_max=64, kernel_dim=8), 64),
    (dict(l_max=100, kernel_dim=16, channels=2, decay=(2.0, 4.0), bidirectional=True), 37),
    (dict(l_max=32, kernel_dim=8, mode="sum", linear=True), 50),
    (dict(l_max=64, kernel_dim=8, learnable_decay=True, bidirectional=True), 70),
    (dict(l_max=64, kernel_dim=4, init_scale=1), 64),
    (dict(l_max=64, kernel_dim=4, n_scales=2, bidirectional=True, linear=True), 20),
]


def written_out(layer: SGConv, x: Tensor) -> Tensor:
    """Kernel by kernel and place by place."""
    count, length, pieces = len(layer.kernel_list), x.shape[-1], []
    base = torch.linspace(*layer.decay_range, layer.D.shape[1], dtype=x.dtype)[:, None]
    for i, taps in enumerate(layer.kernel_list):
        power = i if layer.mode == "sum" else max(0, i - 1)
        taps = F.interpolate(taps, scale_factor=float(2 ** (power + layer.init_scale)), mode="linear")
        pieces.append(taps if layer.decay is not None else taps * base ** (count - 1 - i))
    if layer.mode == "sum":
        pieces = [sum(F.pad(piece, (0, pieces[-1].shape[-1] - piece.shape[-1])) for piece in pieces)]
    kernel = torch.cat(pieces, -1)
    if layer.decay is not None:
        distance = torch.arange(1, kernel.shape[-1] + 1, dtype=x.dtype)
        kernel = kernel * distance ** -layer.decay[:, None]
    kernel = kernel / layer.kernel_norm
    channels = layer.D.shape[0]
    y = layer.D[None, :, :, None] * x[:, None]
    for place in range(length):
        for tap in range(kernel.shape[-1]):
            if place - tap >= 0:
                y[..., place] += kernel[:channels, :, tap] * x[:, None, :, place - tap]
            if layer.bidirectional and place + tap + 1 < length:
                y[..., place] += kernel[channels:, :, tap] * x[:, None, :, place + tap + 1]
    y = y.flatten(1, 2)
    return y if layer.output_linear is None else layer.output_linear(F.gelu(y).transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize(("args", "length"), CASES, ids=str)
def test_is_the_convolution_written_out(args: dict, length: int):
    torch.manual_seed(0)
    layer = SGConv(6, **args).double()
    x = torch.randn(2, 6, length, dtype=torch.double)
    with torch.no_grad():
        expected = written_out(layer, x)
        torch.testing.assert_close(layer(x), expected)
        layer.eval()
        torch.testing.assert_close(layer(x), expected)
        torch.testing.assert_close(layer(x[..., :9]), written_out(layer, x[..., :9]))  # another length, another kernel
        layer.kernel_list[0].mul_(2)
        torch.testing.assert_close(layer(x), written_out(layer, x))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients(bidirectional: bool):
    torch.manual_seed(0)
    layer = SGConv(2, 8, 2, bidirectional=bidirectional, decay=(2.0, 3.0)).double()
    names = ["D", "kernel_list.0", "kernel_list.2", "output_linear.weight"]
    x = torch.randn(2, 2, 7, dtype=torch.double, requires_grad=True)

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *map(layer.get_parameter, names)))


def test_sees_the_past_alone_or_both_ways():
    for bidirectional in (False, True):
        x = torch.randn(1, 4, 64, requires_grad=True)
        SGConv(4, 64, 8, bidirectional=bidirectional)(x)[0, :, 20].sum().backward()
        seen = x.grad.abs().sum((0, 1))
        assert seen[:21].min() > 0
        assert (seen[21:].min() > 1e-6) == bidirectional
        assert bidirectional or seen[21:].max() < 1e-6


def test_norm_is_that_of_the_start_and_travels_with_the_weights():
    torch.manual_seed(0)
    layer = SGConv(4, 64, 8).eval()
    assert torch.allclose(layer._joined(layer.kernel_list, None).norm(dim=-1, keepdim=True), layer.kernel_norm)
    start = layer.kernel_norm.clone()
    with torch.no_grad():
        layer.kernel_list[1].mul_(3)
    assert torch.equal(layer.kernel_norm, start)
    state = layer.state_dict()
    other = SGConv(4, 64, 8).eval()
    other.load_state_dict(state)
    x = torch.randn(1, 4, 30)
    assert torch.equal(other(x), layer(x))
    del state["kernel_norm"]  # an untrained layer: its kernels have norm 1
    other.load_state_dict(state)
    assert "kernel_norm" not in state
    torch.testing.assert_close(other.kernel_norm, layer._joined(layer.kernel_list, None).norm(dim=-1, keepdim=True))


def test_is_faster_than_the_published_formulation():
    torch.manual_seed(0)
    layer, length = SGConv(32, 256, 32, bidirectional=True).eval(), 256
    x = torch.randn(2, 32, length)

    def published() -> Tensor:
        last = len(layer.kernel_list) - 1
        pieces = [
            F.interpolate(taps, scale_factor=2.0 ** max(0, i - 1), mode="linear") * 2.0 ** (last - i)
            for i, taps in enumerate(layer.kernel_list)
        ]
        causal, ahead = (torch.cat(pieces, -1)[..., :length] / layer.kernel_norm).chunk(2)
        kernel = F.pad(causal, (0, length)) + F.pad(ahead.flip(-1), (length, 0))
        spectrum = torch.fft.rfft(x, n=2 * length)[:, None] * torch.fft.rfft(kernel, n=2 * length)
        y = (torch.fft.irfft(spectrum, n=2 * length)[..., :length] + x[:, None] * layer.D[..., None]).flatten(1, 2)
        return layer.output_linear(F.gelu(y).transpose(1, 2)).transpose(1, 2)

    times: dict[str, list[float]] = {"published": [], "ours": []}
    with torch.no_grad():
        torch.testing.assert_close(layer(x), published(), atol=1e-5, rtol=1e-4)
        for _ in range(15):
            for name, run in (("published", published), ("ours", lambda: layer(x))):
                start = time.process_time()
                run()
                times[name].append(time.process_time() - start)
    assert min(times["ours"]) < min(times["published"])  # half of it on a quiet machine


def test_wrong_use():
    with pytest.raises(ValueError, match="mode must be cat or sum, got 'mean'"):
        SGConv(4, 64, mode="mean")
    with pytest.raises(ValueError, match="l_max must be at least"):
        SGConv(4, 8, 32)
