import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch.nn import functional as F

import toolkit  # noqa: F401
from toolkit.modules.sampling.sfm import (
    AdaptiveResampling,
    Modulated,
    compose,
    demodulate,
    even_grid,
    forward_map,
    inverse_grid,
    sample,
    stretching,
)
from toolkit.necks.msau import MSAU, DensityRelation

RESNET = dict(type="mmdet.ResNet", depth=18, base_channels=8, num_stages=4, out_indices=(0, 1, 2, 3))


def centres(height: int, width: int) -> torch.Tensor:
    y, x = ((torch.arange(n, dtype=torch.double) + 0.5) / n for n in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def random_map(*size: int, spread: float = 1.0) -> torch.Tensor:
    return forward_map((spread * torch.randn(2, *size, dtype=torch.double)).exp())


def lively(channels: int) -> AdaptiveResampling:
    module = AdaptiveResampling(channels)
    with torch.no_grad():
        module.channel_weight.normal_()
        module.scale_weight.normal_()
    return module


@pytest.mark.parametrize("size", [(20, 31), (1, 7), (5, 1)], ids=str)
def test_both_maps_undo_each_other(size):
    torch.manual_seed(0)
    s = random_map(*size)
    back = sample(s, inverse_grid(s), corners=True).movedim(1, -1)
    torch.testing.assert_close(back, centres(*size).expand_as(back), atol=1e-12, rtol=0)


@pytest.mark.parametrize("seed", range(8))
def test_never_folds_whatever_the_weights(seed):
    torch.manual_seed(seed)
    module = AdaptiveResampling(4)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(10**seed * torch.randn_like(parameter))
    x = torch.randn(2, 4, 24, 37) * torch.rand(2, 1, 24, 37) ** 8
    s = module(x)[1].double()
    across, down = s.detach().diff(dim=3), s.detach().diff(dim=2)
    # in a bilinear cell the determinant is least at one of its four corners
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        a, d = across[:, :, i : i + 24], down[..., j : j + 37]
        assert (a[:, 0] * d[:, 1] - a[:, 1] * d[:, 0]).min() > 0
    assert stretching(s).min() > 0
    torch.testing.assert_close(stretching(s).mean((2, 3)), torch.ones(2, 1).double(), atol=1e-4, rtol=0)  # area stays


def test_borders_stay_in_place():
    torch.manual_seed(0)
    s = random_map(9, 12)
    for part, dim in ((s[:, 0], 2), (s[:, 1], 1)):
        first, last = part.select(dim, 0), part.select(dim, -1)
        torch.testing.assert_close(first, torch.zeros_like(first))
        torch.testing.assert_close(last, torch.ones_like(last))


def test_begins_as_the_identity():
    x = torch.randn(2, 6, 23, 40)
    y, s = AdaptiveResampling(6)(x)
    torch.testing.assert_close(y, x, atol=2e-5, rtol=0)
    torch.testing.assert_close(demodulate(y, s), x, atol=4e-5, rtol=0)


def test_composed_maps_go_one_after_the_other():
    torch.manual_seed(0)
    first, second = random_map(16, 16), random_map(8, 8, spread=0.3)
    grid = centres(40, 40).expand(2, -1, -1, -1)
    one = sample(second, sample(first, grid, corners=True).movedim(1, -1), corners=True).movedim(1, -1)
    torch.testing.assert_close(even_grid(compose(first, second), (40, 40)), one, atol=0.03, rtol=0)
    whole = compose(random_map(16, 16), forward_map(torch.ones(2, 8, 8, dtype=torch.double)))
    assert stretching(whole).min() > 0


def test_gives_fine_detail_more_room():
    torch.manual_seed(0)
    x = torch.zeros(1, 1, 64, 64)
    x[..., 20:44, 20:44] = torch.randn(1, 1, 24, 24)
    module = AdaptiveResampling(1)
    with torch.no_grad():
        module.scale_weight.fill_(0.4)
        s = module(x)[1]
    stretch = stretching(s)
    assert stretch[..., 24:40, 24:40].mean() > 1.5
    assert stretch[..., :12, :12].mean() < 0.8


def test_gradients_through_the_coordinates():
    torch.manual_seed(0)
    module = lively(2).double()
    x = torch.randn(1, 2, 6, 7, dtype=torch.double, requires_grad=True)
    weights = [parameter.detach().requires_grad_() for parameter in module.parameters()]

    def call(x, *weights):
        names = [name for name, _ in module.named_parameters()]
        y, s = torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x,))
        return demodulate(F.avg_pool2d(y, 2, ceil_mode=True), s, (6, 7))

    assert torch.autograd.gradcheck(call, (x, *weights), eps=1e-7, atol=1e-5)


def test_bfloat16_keeps_the_coordinates_exact():
    torch.manual_seed(0)
    module, x = lively(4), torch.randn(1, 4, 24, 24)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        y, s = module(x)
    assert s.dtype == torch.float32
    torch.testing.assert_close(s, module(x)[1])
    assert y.isfinite().all()


def test_relation_follows_its_formula():
    torch.manual_seed(0)
    relation = DensityRelation(3, (2,), key_channels=2).double()
    with torch.no_grad():
        for parameter in relation.parameters():
            parameter.normal_()
    y, density = torch.randn(1, 3, 7, 7, dtype=torch.double), torch.randn(1, 1, 7, 7, dtype=torch.double)
    query, key, value = relation.project(y)[0].chunk(3)
    row, column = 3, 4
    places = [(row + a, column + b) for a in (-2, 0, 2) for b in (-2, 0, 2)]
    logits = torch.stack(
        [
            (query[:, row, column] * key[:, r, c]).sum() / 2**0.5
            + relation.preference[0] * (density[0, 0, r, c] - density[0, 0, row, column])
            for r, c in places
        ]
    )
    mixed = sum(w * value[:, r, c] for w, (r, c) in zip(logits.softmax(0), places, strict=True))
    expected = y[0, :, row, column] + relation.output.weight.flatten(1) @ (mixed - value[:, row, column])
    torch.testing.assert_close(relation(y, density)[0, :, row, column], expected)


def build():
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        net = MODELS.build(
            dict(type="SFMBackbone", backbone=RESNET, before=("layer2", "layer3", "layer4"), outputs=(0, 1, 2, 3))
        )
    net.eval()
    return net, MSAU((8, 16, 32, 64), unmodulated=1).eval()


def test_any_backbone_begins_as_it_was():
    net, neck = build()
    x = torch.randn(2, 3, 90, 70)
    with torch.no_grad():
        for ours, plain in zip(neck(net(x)), net.backbone.__class__.forward(net.backbone, x), strict=True):
            assert ours.shape == plain.shape
        # the wrapped backbone itself is modulated; without hooks it is the plain one
        for name in ("layer2", "layer3", "layer4"):
            getattr(net.backbone, name)._forward_pre_hooks.clear()
        for ours, plain in zip(build()[1](build()[0](x)), net.backbone(x), strict=True):
            torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)


def test_learns_through_the_maps_and_keeps_the_backbones_names():
    net, neck = build()
    net.train()
    features = net(torch.randn(2, 3, 64, 64))
    assert isinstance(features, Modulated)
    assert [s is None for s in features.maps] == [True, False, False, False]
    sum(y.square().mean() for y in neck(features)).backward()
    assert all(parameter.grad is not None for parameter in neck.parameters())
    assert all(module.scale_weight.grad.abs().sum() > 0 for module in net.resamplers)
    names = {name.removeprefix("backbone.") for name in net.state_dict() if name.startswith("backbone.")}
    with DefaultScope.overwrite_default_scope("mmdet"):
        assert names == set(MODELS.build(RESNET).state_dict())


def test_wrong_use_says_what_is_right():
    with DefaultScope.overwrite_default_scope("mmdet"), pytest.raises(ValueError, match=r"layer7.*layer4"):
        MODELS.build(dict(type="SFMBackbone", backbone=RESNET, before=("layer7",), outputs=(0,)))
    with pytest.raises(ValueError, match="SFMBackbone"):
        MSAU((8,))((torch.zeros(1, 8, 4, 4),))
    with pytest.raises(ValueError, match="unmodulated must be 1"):
        MSAU((8, 8))(Modulated([torch.zeros(1, 8, 4, 4)] * 2, [None, random_map(4, 4).float()[:1]]))


def test_larger_results_hold_more_detail():
    torch.manual_seed(0)
    y = MSAU((8, 16), scale_factors=(1, 2), unmodulated=1)(
        Modulated([torch.randn(1, 8, 8, 8), torch.randn(1, 16, 4, 4)], [None, random_map(8, 8).float()[:1]])
    )
    assert [part.shape[2:] for part in y] == [(8, 8), (8, 8)]
