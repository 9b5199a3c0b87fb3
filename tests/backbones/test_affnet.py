"""AFFNet: sizes as published, the classifier, the inference form."""

import copy

import pytest
import torch
from torch import nn

from toolkit.backbones.affnet import AFFNet, hidden_channels
from toolkit.deploy import deploy


def lively(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in [*net.named_buffers(), *net.named_parameters()]:
            if "running_var" in name:
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.add_(0.1 * torch.randn_like(value))
    return net.eval()


@pytest.mark.parametrize(("arch", "count"), [("xx_small", 1_436_264), ("x_small", 2_654_232), ("small", 5_568_696)])
def test_sizes_are_the_published_ones(arch: str, count: int):
    with torch.device("meta"):
        net = AFFNet(arch, num_classes=1000)
    assert sum(value.numel() for value in net.parameters()) == count


def test_the_classifier_reads_the_last_map():
    net, x = lively(AFFNet("xx_small", num_classes=5)), torch.randn(2, 3, 64, 80)
    maps = AFFNet("xx_small").eval()
    maps.load_state_dict({key: value for key, value in net.state_dict().items() if key in maps.state_dict()})
    wide = net.conv_1x1_exp(maps(x)[-1])
    assert wide.shape[1] == 4 * 144
    torch.testing.assert_close(net(x), net.classifier.fc(wide.mean((2, 3))))


def test_deployed_has_the_same_outputs_and_no_batch_norm():
    net, x = lively(AFFNet("xx_small")), torch.randn(1, 3, 70, 64)
    deployed = deploy(copy.deepcopy(net))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in deployed.modules())
    for one, other in zip(deployed(x), net(x), strict=True):
        assert (one - other).abs().max() < 1e-4 * other.abs().max()


def test_hidden_channels_are_multiples_of_8_near_the_ratio():
    wanted = {(32, 2): 64, (104, 2): 208, (13, 2): 24, (10, 1): 16, (3, 1): 8, (11, 1.6): 24}  # 16 is too far below 18
    assert {key: hidden_channels(*key) for key in wanted} == wanted


def test_unknown_sizes_are_refused():
    with pytest.raises(ValueError, match="AFFNet: arch must be among xx_small, x_small, small or a dict, got 'tiny'"):
        AFFNet("tiny")
