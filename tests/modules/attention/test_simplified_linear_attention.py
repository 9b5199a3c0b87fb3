"""Simplified linear attention against its formula, one token at a time."""

import pytest
import torch
from mmdet.models import ResNet
from torch.nn import functional as F

import toolkit  # noqa: F401
from toolkit.modules.attention.slab import SimplifiedLinearAttention


def lively(channels: int = 12, heads: int = 3, **args) -> SimplifiedLinearAttention:
    torch.manual_seed(0)
    attention = SimplifiedLinearAttention(channels, heads, **args).double()
    torch.nn.init.normal_(attention.positional_encoding)
    return attention


def token_by_token(attention: SimplifiedLinearAttention, x: torch.Tensor) -> torch.Tensor:
    """Sums over all pairs of tokens, and the convolution tap by tap, of one picture's tokens (N, C) on (3, 4)."""
    width = attention.size[1]
    q, k, v = F.linear(x, attention.qkv.weight, attention.qkv.bias).chunk(3, 1)
    k = k + attention.positional_encoding[0]
    taps, bias = attention.dwc.weight[:, 0], attention.dwc.bias  # (d, 5, 5), (d,)
    d, rows = taps.shape[0], []
    for n in range(len(x)):
        parts = []
        for h in range(attention.num_heads):
            mine = slice(h * d, (h + 1) * d)
            scores = [torch.dot(q[n, mine].relu(), k[m, mine].relu()) for m in range(len(x))]
            y = sum(score * v[m, mine] for m, score in enumerate(scores)) / (sum(scores) + 1e-6) + bias
            for m in range(len(x)):
                down, right = m // width - n // width + 2, m % width - n % width + 2
                if 0 <= down < 5 and 0 <= right < 5:
                    y = y + taps[:, down, right] * v[m, mine]
            parts.append(y)
        rows.append(torch.cat(parts))
    return attention.proj(torch.stack(rows))


def test_equals_the_sum_over_all_pairs_of_tokens():
    attention = lively(size=(3, 4))
    x = torch.randn(2, 12, 12, dtype=torch.float64)
    expected = torch.stack([token_by_token(attention, picture) for picture in x])
    torch.testing.assert_close(attention(x), expected)


def test_maps_and_tokens_are_the_same():
    attention = lively(size=(3, 4))
    maps = torch.randn(2, 12, 3, 4, dtype=torch.float64)
    tokens = attention(maps.flatten(2).transpose(1, 2))
    torch.testing.assert_close(attention(maps), tokens.transpose(1, 2).view_as(maps))


def test_the_position_encoding_of_another_size_is_the_resized_one():
    attention = lively(size=4)
    other = lively(size=(6, 5))
    with torch.no_grad():
        grid = attention.positional_encoding.view(1, 4, 4, 12).permute(0, 3, 1, 2)
        resized = F.interpolate(grid, (6, 5), mode="bicubic").permute(0, 2, 3, 1).reshape(1, 30, 12)
        other.load_state_dict(attention.state_dict() | {"positional_encoding": resized})
    maps = torch.randn(2, 12, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(attention(maps), other(maps))
    assert not torch.allclose(attention(maps), attention(maps.flip(3)).flip(3))


def test_gradients_are_those_of_the_formula():
    attention = lively(6, 2, size=(2, 3))
    x = torch.randn(1, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(attention, (x,))


def test_large_values_in_half_precision_stay_finite():
    attention = SimplifiedLinearAttention(16, 2).bfloat16().eval()
    assert attention(torch.full((1, 16, 40, 40), 1e10, dtype=torch.bfloat16)).isfinite().all()


def test_plugs_into_a_resnet():
    plugin = dict(cfg=dict(type="SimplifiedLinearAttention", num_heads=2), position="after_conv2")
    net = ResNet(50, base_channels=8, plugins=[dict(plugin, stages=(False, True, True, True))])
    net.eval()
    added = [module for module in net.modules() if isinstance(module, SimplifiedLinearAttention)]
    assert len(added) == 4 + 6 + 3
    x = torch.randn(1, 3, 64, 96)
    before = net(x)[-1]
    with torch.no_grad():
        for module in added:
            module.proj.bias += 1
    assert not torch.allclose(net(x)[-1], before)


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="in_channels must be divisible by num_heads 4, got 10"):
        SimplifiedLinearAttention(10)
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        SimplifiedLinearAttention(16, kernel_size=4)
    with pytest.raises(ValueError, match="50 tokens do not fill a map of 7 x 7"):
        SimplifiedLinearAttention(16, size=7)(torch.randn(1, 50, 16))
