"""DilatedReparamBlock: one kernel holds all branches."""

import pytest
import torch
import torch.nn.functional as F

from toolkit.modules.conv.dilated_reparam import BRANCHES, DilatedReparamBlock, widened


def lively(kernel_size: int) -> DilatedReparamBlock:
    torch.manual_seed(0)
    block = DilatedReparamBlock(6, kernel_size).eval()
    for module in block.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for value in (module.weight.data, module.bias.data, module.running_mean):
                value.normal_()
            module.running_var.uniform_(0.5, 2)
    return block


@pytest.mark.parametrize(("size", "dilation"), [(3, 5), (7, 2), (5, 1), (9, 2)])
def test_a_widened_kernel_is_the_dilated_one(size: int, dilation: int):
    torch.manual_seed(0)
    kernel, x = torch.randn(4, 1, size, size), torch.randn(1, 4, 20, 23)
    expected = F.conv2d(x, kernel, padding=dilation * (size // 2), dilation=dilation, groups=4)
    torch.testing.assert_close(F.conv2d(x, widened(kernel, dilation, 17), padding=8, groups=4), expected)


@pytest.mark.parametrize("kernel_size", BRANCHES)
def test_inference_form_is_one_equal_convolution(kernel_size: int):
    block, x = lively(kernel_size), torch.randn(2, 6, 19, 14)
    assert all((size - 1) * dilation < kernel_size for size, dilation in block.branches)
    with torch.no_grad():
        expected = block(x)
        block.switch_to_deploy()
        block.switch_to_deploy()
        torch.testing.assert_close(block(x), expected, atol=1e-4, rtol=1e-4)
    assert set(block.state_dict()) == {"lk_origin.weight", "lk_origin.bias"}


def test_a_size_that_the_paper_lacks_is_refused():
    with pytest.raises(ValueError, match="DilatedReparamBlock: kernel_size must be one of 7, 9"):
        DilatedReparamBlock(8, 6)
