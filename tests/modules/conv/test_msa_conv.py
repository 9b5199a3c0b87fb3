"""MSAConv: equality with windows gathered by unfold, and what stays outside."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from toolkit.modules.conv.msa_conv import MSAConv, window_scores, window_sum

WINDOWS = [((3, 3), (1, 1)), ((5, 3), (2, 1)), ((1, 7), (1, 2))]


def gathered(x: Tensor, size: tuple[int, int], dilation: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, C, window, H, W)."""
    padding = [step * (side // 2) for side, step in zip(size, dilation, strict=True)]
    return F.unfold(x, size, dilation, padding).view(*x.shape[:2], -1, *x.shape[2:])


@pytest.mark.parametrize(("size", "dilation"), WINDOWS, ids=str)
def test_operators_are_those_of_gathered_windows(size: tuple[int, int], dilation: tuple[int, int]):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 6, 5)
    scores = window_scores(q, k, size, dilation)
    torch.testing.assert_close(scores, (q.unsqueeze(2) * gathered(k, size, dilation)).sum(1))
    attention = scores.softmax(1)
    expected = (attention.unsqueeze(1) * gathered(v, size, dilation)).sum(2)
    torch.testing.assert_close(window_sum(attention, v, size, dilation), expected)


@pytest.mark.parametrize(("size", "dilation"), WINDOWS[:2], ids=str)
def test_gradients(size: tuple[int, int], dilation: tuple[int, int]):
    torch.manual_seed(0)
    maps = torch.randn(3, 1, 2, 4, 5, dtype=torch.double).requires_grad_().unbind(0)

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return window_sum(window_scores(q, k, size, dilation).softmax(1), v, size, dilation)

    assert torch.autograd.gradcheck(run, [one.detach().requires_grad_() for one in maps])


def test_layer_is_the_formula():
    torch.manual_seed(0)
    layer = MSAConv(4, 6, 3, 2, 1).eval()
    x = torch.randn(2, 4, 7, 8)
    q, k, v = layer.qkv_conv(x).chunk(3, 1)
    attention = ((q.unsqueeze(2) * gathered(k, (3, 3), (1, 1))).sum(1) / 2).softmax(1)
    attended = (attention.unsqueeze(1) * gathered(v, (3, 3), (1, 1))).sum(2)
    expected = F.conv2d(x + attended, layer.mlp.weight, None, 2, 1).relu()
    torch.testing.assert_close(layer(x), expected)
    assert not torch.equal(layer.train()(x), expected)  # dropout


def test_neighbours_outside_take_part():
    attention = window_scores(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), (3, 3)).softmax(1)
    torch.testing.assert_close(attention.flatten(), torch.full((9,), 1 / 9))


def test_wrong_use():
    with pytest.raises(ValueError, match="MSAConv: kernel_size must be odd"):
        MSAConv(4, 4, 4)
    with pytest.raises(ValueError, match="MSAConv: groups must be 1, got 2"):
        MSAConv(4, 4, 3, groups=2)
