import mmcv._ext
import mmcv.ops
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor


def inputs(kernel: int, groups: int, scale: int) -> tuple[Tensor, Tensor]:
    features = torch.randn(2, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    masks = torch.randn(2, groups * kernel**2, 3 * scale, 4 * scale, dtype=torch.float64, requires_grad=True)
    return features, masks


def reference(features: Tensor, masks: Tensor, kernel: int, groups: int, scale: int) -> Tensor:
    patches = F.unfold(features, kernel, padding=kernel // 2).view(2, 4, kernel**2, 3, 4)
    patches = patches.repeat_interleave(scale, 3).repeat_interleave(scale, 4)
    kernels = masks.view(2, groups, kernel**2, 3 * scale, 4 * scale).repeat_interleave(4 // groups, 1)
    return (patches * kernels).sum(2)


@pytest.mark.parametrize("function", [mmcv.ops.carafe, mmcv.ops.carafe_naive])
@pytest.mark.parametrize("setting", [(3, 1, 2), (5, 2, 2), (1, 4, 3), (3, 2, 1)])
def test_carafe_equals_its_definition(function, setting):
    features, masks = inputs(*setting)
    torch.testing.assert_close(function(features, masks, *setting), reference(features, masks, *setting))


@pytest.mark.parametrize("setting", [(3, 1, 2), (5, 2, 2)])
def test_carafe_gradient(setting):
    assert torch.autograd.gradcheck(lambda *a: mmcv.ops.carafe(*a, *setting), inputs(*setting), fast_mode=True)


def test_naive_gradient_is_the_same():
    """mmcv refuses the backward pass of the naive operator on a CPU, so this calls the operator itself."""
    features, masks = inputs(3, 2, 2)
    output = reference(features, masks, 3, 2, 2)
    grad = torch.randn_like(output)
    made = torch.zeros_like(features), torch.zeros_like(masks)
    mmcv._ext.carafe_naive_backward(
        grad, features.detach(), masks.detach(), *made, kernel_size=3, group_size=2, scale_factor=2
    )
    for got, expected in zip(made, torch.autograd.grad(output, (features, masks), grad), strict=True):
        torch.testing.assert_close(got, expected)
