import mmcv.ops
import pytest
import torch
import torch.nn.functional as F


@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), ((3, 5), (1, 2))])
def test_masked_conv_is_a_convolution_at_the_chosen_pixels(kernel, padding):
    layer = mmcv.ops.MaskedConv2d(3, 4, kernel, padding=padding).eval()
    x, mask = torch.randn(1, 3, 6, 7), torch.rand(1, 6, 7) > 0.6
    with torch.no_grad():
        expected = F.conv2d(x, layer.weight, layer.bias, padding=padding) * mask
        torch.testing.assert_close(layer(x, mask), expected)


def test_empty_mask_gives_zeros():
    layer = mmcv.ops.MaskedConv2d(3, 4, 3, padding=1).eval()
    assert not layer(torch.randn(1, 3, 6, 7), torch.zeros(1, 6, 7)).any()
