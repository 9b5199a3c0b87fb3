"""WConv: equality with weights times densities, learned densities, plain convolutions."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from toolkit.modules.conv.weighted_conv import WConv1d, WConv2d, WConv3d


@pytest.mark.parametrize(
    ("cls", "size", "profile"),
    [
        (WConv1d, 3, [0.7, 1, 0.7]),
        (WConv2d, 5, [0.2, 0.8, 1, 0.8, 0.2]),
        (WConv2d, 7, [0.25, 0.15, 0.55, 1, 0.55, 0.15, 0.25]),
        (WConv3d, 3, [0.8, 1, 0.8]),
        (WConv3d, 5, [0.1, 0.7, 1, 0.7, 0.1]),
    ],
)
def test_is_a_convolution_with_weighted_taps(cls: type, size: int, profile: list[float]):
    torch.manual_seed(0)
    dims = int(cls.__name__[-2])
    layer = cls(4, 6, size, stride=2, padding=1, groups=2)
    x, profile = torch.randn(2, 4, *[9] * dims), torch.tensor(profile)
    axes = "abc"[:dims]
    phi = torch.einsum(",".join(axes) + "->" + axes, *[profile] * dims)
    conv = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    expected = conv(x, layer.weight * phi, layer.bias, 2, 1, 1, 2)
    torch.testing.assert_close(layer(x), expected)
    layer.eval()
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected)
    layer.switch_to_deploy()
    assert type(layer) is (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    assert set(layer.state_dict()) == {"weight", "bias"}
    torch.testing.assert_close(layer(x), expected)


def test_learns_densities():
    torch.manual_seed(0)
    layer = WConv2d(1, 1, 5, bias=False, den=(0.5, 0.5), trainable_den=True).double()
    assert set(layer.state_dict()) == {"weight", "den"}
    x = torch.randn(1, 1, 6, 6, dtype=torch.double)

    def run(weight: torch.Tensor, den: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(weight=weight, den=den), (x,))

    assert torch.autograd.gradcheck(run, (layer.weight, layer.den))


def test_wrong_use():
    for wrong in (4, (3, 5)):
        with pytest.raises(ValueError, match="odd and the same along every axis"):
            WConv2d(4, 4, wrong)
    with pytest.raises(ValueError, match="den must have 2 factors for kernel_size 5, got"):
        WConv2d(4, 4, 5, den=(0.7,))
    with pytest.raises(ValueError, match="den must have 4 factors for kernel_size 9, got None"):
        WConv2d(4, 4, 9)
    with pytest.raises(ValueError, match="divisible by groups"):
        WConv2d(4, 4, 3, groups=3)
