"""E2GC: the group's size stays, the number of groups follows."""

import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn

import toolkit  # noqa: F401
from toolkit.deploy import deploy
from toolkit.modules.conv.e2gc import E2GC


@pytest.mark.parametrize("channels", [16, 64, 256])
def test_a_channel_sees_its_group_alone(channels: int):
    layer = E2GC(channels, channels, 3, padding=1, groups=channels, group_size=8)
    assert layer.groups == channels // 8
    x = torch.randn(1, channels, 4, 4, requires_grad=True)
    layer(x)[0, -1].sum().backward()
    assert x.grad.abs().sum((0, 2, 3)).nonzero().flatten().tolist() == list(range(channels - 8, channels))


def test_deployed_is_a_plain_grouped_convolution_and_folds():
    torch.manual_seed(0)
    net = ConvModule(32, 64, 3, padding=1, conv_cfg=dict(type="E2GC", group_size=16), norm_cfg=dict(type="BN")).eval()
    nn.init.uniform_(net.bn.running_mean)
    x = torch.randn(1, 32, 6, 6)
    expected = net(x)
    torch.testing.assert_close(deploy(net)(x), expected, atol=1e-5, rtol=1e-4)
    assert isinstance(net.bn, nn.Identity)


def test_wrong_use():
    with pytest.raises(ValueError, match="E2GC: in_channels must be divisible by group_size 16, got 24"):
        E2GC(24, 24, 3)
    with pytest.raises(ValueError, match="E2GC: out_channels must be divisible by the 4 groups"):
        E2GC(64, 30, 3)
