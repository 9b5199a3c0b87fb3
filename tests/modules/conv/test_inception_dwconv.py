"""InceptionDWConv2d against one dense depthwise kernel with the same taps."""

import pytest
import torch
from torch.nn import functional as F

from toolkit.modules.conv.inception_dwconv import InceptionDWConv2d


@pytest.mark.parametrize(("square", "band", "ratio"), [(3, 11, 0.125), (5, 9, 0.25), (7, 3, 1 / 3)])
def test_equals_one_sparse_depthwise_kernel(square: int, band: int, ratio: float):
    torch.manual_seed(0)
    channels = 24
    mixer = InceptionDWConv2d(channels, square, band, ratio)
    branch, size = int(channels * ratio), max(square, band)
    kernel, bias = torch.zeros(channels, 1, size, size), torch.zeros(channels)
    start, middle = channels - 3 * branch, size // 2
    kernel[:start, 0, middle, middle] = 1
    for layer in (mixer.dwconv_hw, mixer.dwconv_w, mixer.dwconv_h):
        height, width = layer.kernel_size
        top, left = middle - height // 2, middle - width // 2
        kernel[start : start + branch, :, top : top + height, left : left + width] = layer.weight.detach()
        bias[start : start + branch] = layer.bias.detach()
        start += branch
    x = torch.randn(2, channels, 13, 9)
    expected = F.conv2d(x, kernel, bias, padding=middle, groups=channels)
    torch.testing.assert_close(mixer(x), expected)


@pytest.mark.parametrize("wrong", [dict(branch_ratio=0.5), dict(branch_ratio=0.01), dict(band_kernel_size=10)])
def test_wrong_sizes_are_named(wrong: dict):
    with pytest.raises(ValueError, match=f"InceptionDWConv2d: .*got .*{next(iter(wrong.values()))}"):
        InceptionDWConv2d(64, **wrong)
