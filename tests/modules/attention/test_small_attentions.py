import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from toolkit.modules.attention.dcca import DCCA, GDCCA
from toolkit.modules.attention.eca import ECA, adaptive_kernel_size
from toolkit.modules.attention.ela import ELA
from toolkit.modules.attention.scse import cSE, scSE
from toolkit.modules.attention.ulsam import ULSAM


def test_eca_slides_over_channels():
    torch.manual_seed(0)
    module, x = ECA(6, 3), torch.randn(2, 6, 4, 5)
    mean = x.mean((2, 3))
    taps = module.conv.weight.flatten()
    padded = torch.cat([torch.zeros(2, 1), mean, torch.zeros(2, 1)], 1)
    for channel in range(6):
        weight = (padded[:, channel : channel + 3] * taps).sum(1).sigmoid()
        torch.testing.assert_close(module(x)[:, channel], x[:, channel] * weight[:, None, None])


def test_eca_s_rule_gives_the_paper_s_sizes():
    assert [adaptive_kernel_size(channels) for channels in (64, 128, 256, 512, 1024)] == [3, 5, 5, 5, 5]
    with pytest.raises(ValueError, match="odd, got 4"):
        ECA(64, 4)


def test_ela_turned_is_ela_of_the_turned():
    torch.manual_seed(0)
    for variant in "TBSL":
        module, x = ELA(64, variant), torch.randn(2, 64, 7, 9)
        torch.testing.assert_close(module(x.mT), module(x).mT)
    with pytest.raises(ValueError, match="divisible by 32 for variant T, got 48"):
        ELA(48, "T")


def test_scse_is_the_larger_of_both():
    torch.manual_seed(0)
    module, x = scSE(8), torch.randn(2, 8, 5, 5)
    weight = (module.sSE.conv.weight.flatten()[:, None, None] * x).sum(1, keepdim=True) + module.sSE.conv.bias
    hidden = (x.mean((2, 3)) @ module.cSE.fc1.weight.T + module.cSE.fc1.bias).clamp(min=0)
    channel = (hidden @ module.cSE.fc2.weight.T + module.cSE.fc2.bias).sigmoid()[:, :, None, None]
    torch.testing.assert_close(module(x), torch.stack([x * channel, x * weight.sigmoid()]).amax(0))
    with pytest.raises(ValueError, match="less than reduction"):
        cSE(4, 8)


@pytest.mark.parametrize("name", ["ECA", "ELA", "cSE", "sSE", "scSE", "ULSAM", "DCCA", "GDCCA"])
def test_plugs_into_a_resnet(name):
    plugins = [dict(cfg=dict(type=name), stages=(False, True, True, True), position="after_conv3")]
    with DefaultScope.overwrite_default_scope("mmdet"):
        net = MODELS.build(dict(type="ResNet", depth=50, base_channels=16, stem_channels=16, plugins=plugins))
    maps = net(torch.randn(2, 3, 64, 64))
    maps[-1].sum().backward()
    found = [module for module in net.modules() if type(module).__name__ == name]
    assert len(found) == 4 + 6 + 3
    assert all(parameter.grad is not None for module in found for parameter in module.parameters())


def test_ulsam_adds_a_share_of_each_group_that_sums_to_one():
    torch.manual_seed(0)
    module, x = ULSAM(12, 3).eval(), torch.rand(2, 12, 5, 6) + 1
    share = (module(x) / x - 1).unflatten(1, (3, 4))  # the same for all channels of a group
    torch.testing.assert_close(share, share[:, :, :1].expand_as(share))
    torch.testing.assert_close(share[:, :, 0].sum((-1, -2)), torch.ones(2, 3))
    with pytest.raises(ValueError, match="ULSAM: in_channels must be divisible by num_splits 3, got 10"):
        ULSAM(10, 3)


def lively(module: torch.nn.Module) -> torch.nn.Module:
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def test_dcca_squeezes_each_domain_with_its_own_layer():
    torch.manual_seed(0)
    module, x = lively(DCCA(16, 4)), torch.randn(5, 16, 6, 6)
    both = module.train()(x)
    target = module.eval()(x)
    torch.testing.assert_close(both[2:], target[2:])  # two of five are source
    module.fc1.load_state_dict(module.fc0.state_dict())
    torch.testing.assert_close(both[:2], module(x)[:2])
    assert not torch.allclose(both[2:], module(x)[2:])


def test_gdcca_s_gate_follows_the_domains_and_is_saved():
    torch.manual_seed(0)
    module, x = lively(GDCCA(16, 4)), torch.rand(4, 16, 6, 6)
    module.train()(torch.cat((x, x * 1.01)))
    assert module.gate
    shared = module.eval()(x)
    module.train()(torch.cat((x, 30 * x.square())))
    assert not module.gate
    assert not torch.allclose(module.eval()(x), shared)
    module.train()(torch.cat((x, x * 1.01)))
    other = GDCCA(16, 4)
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(other.eval()(x), shared)
