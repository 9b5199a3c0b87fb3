"""MSBlock, SPPF and SE against their formulas written out with torch's functions."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.modules.attention.se import SE
from toolkit.modules.conv.ms_block import MSBlock
from toolkit.modules.conv.sppf import SPPF


def randomise(module: nn.Module) -> nn.Module:
    """Every parameter and running statistic different from its initial value; evaluation mode; float64."""
    torch.manual_seed(0)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point():
            tensor.data = torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor) * 0.3
    return module.eval().double()


def conv(module: nn.Module, x: Tensor) -> Tensor:
    """conv, batch norm and SiLU of one ConvModule, written out for odd kernels and stride 1."""
    weight, bn = module.conv.weight, module.bn
    y = F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=x.shape[1] // weight.shape[1])
    shape = (1, -1, 1, 1)
    y = (y - bn.running_mean.view(shape)) / (bn.running_var.view(shape) + bn.eps).sqrt()
    y = y * bn.weight.view(shape) + bn.bias.view(shape)
    return y / (1 + (-y).exp())


@pytest.mark.parametrize(("kernel_sizes", "num_layers"), [((1, 3, 3), 1), ((1, 5, 5), 2), ((3, 1, 7, 5), 1)])
def test_ms_block_is_its_formula(kernel_sizes: tuple[int, ...], num_layers: int) -> None:
    groups = len(kernel_sizes)
    block = randomise(MSBlock(4 * groups, 10, kernel_sizes, in_expand_ratio=2, num_layers=num_layers))
    x = torch.randn(2, 4 * groups, 9, 7, dtype=torch.float64)
    z = conv(block.in_conv, x)
    width = z.shape[1] // groups
    previous, outs = None, []
    for i in range(groups):
        y = z[:, i * width : (i + 1) * width]
        if previous is not None:
            y = y + previous
        if kernel_sizes[i] > 1:
            for layer in block.mid_convs[i]:
                y = conv(layer.out_conv, conv(layer.mid_conv, conv(layer.in_conv, y)))
        previous = y
        outs.append(y)
    torch.testing.assert_close(block(x), conv(block.out_conv, torch.cat(outs, 1)))


def test_ms_block_widths_follow_the_ratios() -> None:
    block = MSBlock(6, 8, (1, 3, 3), in_expand_ratio=3, in_down_ratio=2, mid_expand_ratio=1.5, num_layers=1)
    assert block.in_conv.conv.weight.shape[:2] == (9, 6)
    assert block.mid_convs[1][0].mid_conv.conv.weight.shape == (4, 1, 3, 3)
    assert block.out_conv.conv.weight.shape[:2] == (8, 9)
    with pytest.raises(ValueError, match="= 10 channels do not divide into 3 groups"):
        MSBlock(5, 8, (1, 3, 3), in_expand_ratio=2)


def test_ms_block_applies_its_attention_to_the_output() -> None:
    block = randomise(MSBlock(6, 32, num_layers=1, attention_cfg=dict(type="SE", reduction=4)))
    x = torch.randn(1, 6, 5, 5, dtype=torch.float64)
    with_attention = block(x)
    attention, block.attention = block.attention, None
    torch.testing.assert_close(with_attention, attention(block(x)))


def test_se_is_its_formula() -> None:
    se = randomise(SE(32, reduction=8))
    x = torch.randn(2, 32, 4, 3, dtype=torch.float64)
    w1, w2 = se.fc[0].weight, se.fc[2].weight
    weight = torch.sigmoid((x.sum((2, 3)) / 12 @ w1.T).clamp(min=0) @ w2.T)
    torch.testing.assert_close(se(x), torch.einsum("bchw,bc->bchw", x, weight))
    with pytest.raises(ValueError, match="in_channels 8 is less than reduction 16"):
        SE(8)


def test_sppf_pools_at_5_9_and_13_pixels() -> None:
    sppf = randomise(SPPF(8, 6))
    x = torch.randn(1, 8, 20, 17, dtype=torch.float64)
    z = conv(sppf.conv1, x)
    pools = [z] + [F.max_pool2d(z, size, stride=1, padding=size // 2) for size in (5, 9, 13)]
    torch.testing.assert_close(sppf(x), conv(sppf.conv2, torch.cat(pools, 1)))
