"""FDConv: equality with the plain formulation, with dense networks, and what it costs."""

import copy
import time

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import load_state_dict
from torch import Tensor, nn
from torch.nn import functional as F

import toolkit  # noqa: F401
from toolkit.modules.conv.fdconv import FBM, FDConv, frequency_order, spectrum


def lively(layer: nn.Module) -> nn.Module:
    """With attentions that are not all 1."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "KSM_" in name or "FBM" in name or "freq_weight" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return layer.eval()


def plain_kernels(conv: FDConv, mean: Tensor) -> Tensor:
    """The kernels step by step: the spectrum group by group into an empty one, then every product in turn."""
    k, batch = conv.kernel_size[0], len(mean)
    rows, columns = conv.out_channels * k, conv.in_channels * k
    order = frequency_order(rows, columns).view(conv.kernel_num, -1)
    row, column = order // (columns // 2 + 1), order % (columns // 2 + 1)
    hidden = conv.KSM_Global.relu(conv.KSM_Global.bn(conv.KSM_Global.fc(mean)))
    groups = 2 / conv.kernel_num * conv.KSM_Global.kernel_fc(hidden).flatten(1).sigmoid()
    weight = conv.dft_weight[0][row, column] * (min(conv.out_channels, conv.in_channels) // 2 * conv.kernel_num)
    spectra = torch.zeros(batch, rows, columns // 2 + 1, 2)
    spectra[:, row, column] += groups[:, :, None, None] * weight
    kernels = torch.fft.irfft2(torch.view_as_complex(spectra), s=(rows, columns))
    kernels = kernels.view(batch, conv.out_channels, k, conv.in_channels, k).transpose(2, 3)
    local = conv.KSM_Local.conv(conv.KSM_Local.norm(mean.flatten(1))[:, None])
    kernels = kernels * 2 * local.sigmoid().view(batch, conv.out_channels, k, k, -1).permute(0, 1, 4, 2, 3)
    kernels = kernels * 2 * conv.KSM_Global.channel_fc(hidden).sigmoid().view(batch, 1, -1, 1, 1)
    kernels = kernels * 2 * conv.KSM_Global.filter_fc(hidden).sigmoid().view(batch, -1, 1, 1, 1)
    if k > 1:
        kernels = kernels * 2 * conv.KSM_Global.spatial_fc(hidden).sigmoid().view(batch, 1, 1, k, k)
    return kernels


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "k", "args"),
    [
        (32, 64, 3, dict(padding=1)),
        (64, 32, 3, dict(padding=2, dilation=2, stride=2, bias=False, kernel_num=32)),
        (48, 64, 1, dict(stride=2)),
        (64, 128, 1, dict(padding=1, bias=False)),
        (31, 64, 1, dict(kernel_num=32)),
    ],
)
def test_each_picture_is_convolved_with_its_own_kernel(in_channels: int, out_channels: int, k: int, args: dict):
    conv = lively(FDConv(in_channels, out_channels, k, **args))
    x = torch.randn(3, in_channels, 11, 14) + torch.randn(3, in_channels, 1, 1)
    kernels = plain_kernels(conv, x.mean((2, 3), keepdim=True))
    assert (kernels[0] - kernels[1]).abs().max() > 0.1 * kernels.abs().max()
    seen = conv.FBM(x) if k > 1 else x
    geometry = (conv.stride, conv.padding, conv.dilation)
    expected = [F.conv2d(one[None], kernel, conv.bias, *geometry) for one, kernel in zip(seen, kernels, strict=True)]
    torch.testing.assert_close(conv(x), torch.cat(expected), atol=1e-5, rtol=1e-4)
    with torch.no_grad():  # where products are made in place
        torch.testing.assert_close(conv(x), torch.cat(expected), atol=1e-5, rtol=1e-4)


def test_groups_are_rings_of_rising_frequency():
    order = frequency_order(96, 48)
    assert sorted(order.tolist()) == list(range(96 * 25))
    rows, columns = torch.fft.fftfreq(96)[order // 25], torch.fft.rfftfreq(48)[order % 25]
    radius = (rows**2 + columns**2).sqrt()
    assert (radius.diff() > -1e-6).all()


@pytest.mark.parametrize(("k", "padding"), [(1, 0), (3, 1)])
def test_begins_as_the_dense_convolution_whose_weights_it_loads(k: int, padding: int):
    torch.manual_seed(0)
    dense = nn.Conv2d(64, 32, k, 2, padding)
    x = torch.rand(2, 64, 13, 9)
    for load in (lambda conv, state: conv.load_state_dict(state), load_state_dict):  # torch's and mmengine's
        conv = lively(FDConv(64, 32, k, 2, padding, kernel_num=32))
        state = dense.state_dict()
        load(conv, state)
        assert set(state) == {"weight", "bias"}
        torch.testing.assert_close(conv.eval()(x), dense(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(conv.dense_weight(), dense.weight, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(conv.dft_weight, spectrum(dense.weight))


def test_nothing_is_kept_from_the_weights_before():
    conv = lively(FDConv(32, 32, 3, padding=1, kernel_num=32))
    x = torch.randn(2, 32, 9, 9)
    with torch.no_grad():
        first = conv(x)
        conv.dft_weight.mul_(2)
        torch.testing.assert_close(conv(x), 2 * first - conv.bias[:, None, None], atol=1e-5, rtol=1e-4)
        twin = copy.deepcopy(conv)
        twin.dft_weight.zero_()
        assert torch.equal(twin(x), conv.bias[:, None, None].expand_as(first))
        conv.load_state_dict(twin.state_dict())
        assert torch.equal(conv(x), twin(x))


def test_gradients_reach_spectrum_and_attentions():
    torch.manual_seed(0)
    conv = lively(FDConv(18, 20, 3, padding=1, kernel_num=4)).double()
    x = torch.randn(2, 18, 4, 5, dtype=torch.double, requires_grad=True)
    names = ["dft_weight", "KSM_Global.kernel_fc.bias", "KSM_Global.filter_fc.weight", "KSM_Local.norm.weight"]
    parameters = [conv.get_parameter(name) for name in names]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(conv, dict(zip(names, values, strict=True)), (x,)).sum((1, 2))

    assert torch.autograd.gradcheck(run, (x, *parameters), fast_mode=True)


def test_bands_sum_to_the_map_and_are_weighed_apart():
    torch.manual_seed(0)
    fbm = FBM(8)
    x = torch.randn(2, 8, 24, 21)
    torch.testing.assert_close(fbm(x), x, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        fbm.freq_weight_conv_list[0].bias.fill_(-100)  # away with the highest band
        low = torch.cos(torch.arange(64) * 2 * torch.pi * 4 / 64).expand(1, 8, 64, 64)
        high = torch.cos(torch.arange(64) * 2 * torch.pi * 24 / 64).expand(1, 8, 64, 64)
        torch.testing.assert_close(fbm(low + high), low, atol=1e-5, rtol=0)


def test_groups_fit_narrow_layers_by_themselves():
    assert FDConv(64, 64, 3).kernel_num == 64
    assert FDConv(32, 32, 3).kernel_num == 56  # the largest divisor of 4704 up to 64


@pytest.mark.parametrize(
    ("args", "message"),
    [(dict(groups=2), "groups must be 1"), (dict(kernel_num=64), "kernel_num must divide .* 4704 .* as 32 does")],
)
def test_wrong_arguments_are_named(args: dict, message: str):
    with pytest.raises(ValueError, match=f"FDConv: {message}.*got"):
        FDConv(32, 32, 3, **args)


def test_small_and_large_kernels_stay_plain():
    for args in ((16, 64, 3), (64, 3, 1), (32, 32, 7)):
        conv = FDConv(*args)
        assert {name for name, _ in conv.named_parameters()} == {"weight", "bias"}
        x = torch.randn(1, args[0], 9, 9)
        assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias))


def test_synthesis_is_three_times_as_fast_as_the_plain_formulation():
    conv = lively(FDConv(256, 256, 3, padding=1))
    mean = torch.randn(2, 256, 1, 1)
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    with torch.no_grad():
        for _ in range(7):
            for name, run in (("plain", lambda: plain_kernels(conv, mean)), ("ours", lambda: conv.kernels(mean))):
                start = time.process_time()
                run()
                times[name].append(time.process_time() - start)
    plain, ours = (sorted(values)[3] for values in times.values())
    assert plain > 2 * ours  # 4 times on a quiet machine


@pytest.fixture(scope="module")
def resnet_args() -> dict:
    return dict(depth=50, base_channels=32, out_indices=(0, 3), norm_cfg=dict(type="BN"))


def test_resnet_begins_as_the_plain_one_and_freezes_spectra_alone(resnet_args: dict):
    torch.manual_seed(0)
    plain = MODELS.build(dict(type="mmdet.ResNet", **resnet_args))
    cfg = dict(type="FDConv", kernel_num=32)
    ours = MODELS.build(dict(type="FDConvResNet", frozen_stages=1, norm_eval=True, conv_cfg=cfg, **resnet_args))
    ours.init_weights()
    ours.load_state_dict(plain.state_dict())
    plain.eval(), ours.eval()
    x = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        pairs = list(zip(ours(x), plain(x), strict=True))
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-4 * float(other.abs().max()), rtol=0)
    dynamic = [module for module in ours.modules() if isinstance(module, FDConv) and not module.is_plain]
    assert len(dynamic) == 48
    assert not any(isinstance(module, FDConv) for module in ours.layer2[0].downsample)
    sum(out.sum() for out in ours.train()(x)).backward()
    first = dict(ours.layer1.named_parameters())
    assert {name for name, value in first.items() if value.requires_grad} == {
        name for name in first if "KSM_" in name or "FBM" in name
    }
    assert ours.layer2[0].conv2.dft_weight.grad.abs().max() > 0


def test_detector_builds_with_the_published_number_of_layers():
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    from toolkit.config import find_config

    config = Config.fromfile(find_config("detection/faster_rcnn_r50_fdconv_1x_coco"))
    config.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(config.model)
    assert sum(parameter.numel() for parameter in model.backbone.parameters()) == 27_155_152
