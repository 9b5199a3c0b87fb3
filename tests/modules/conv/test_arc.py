"""ARC: kernels turn as pictures do; its ResNet."""

import copy
import math

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

import toolkit  # noqa: F401
from toolkit.modules.conv.arc import ARC, rotated_kernels, rotation_matrices
from toolkit.ops import load_mmdet


def turned(kernel: Tensor, angle: float) -> Tensor:
    """A 3x3 kernel read at places turned about its middle: corners along the outline, sides bilinearly."""
    cos, sin = math.cos(angle), math.sin(abs(angle))
    if angle < 0:
        return turned(kernel.flip(1), -angle).flip(1)
    new = kernel.clone()
    for quarter in range(4):
        old = torch.rot90(kernel, -quarter)  # the corner and the side at the top
        corner = (cos - sin) * old[0, 0] + (1 - cos + sin) * old[0, 1]
        up, right = cos, sin
        side = (
            up * (1 - right) * old[0, 1]
            + up * right * old[0, 2]
            + (1 - up) * (1 - right) * old[1, 1]
            + (1 - up) * right * old[1, 2]
        )
        part = torch.rot90(new, -quarter).clone()
        part[0, 0], part[0, 1] = corner, side
        new = torch.rot90(part, quarter)
    return new


@pytest.mark.parametrize("degrees", [-40.0, -12.5, 0.0, 3.0, 40.0])
def test_kernels_turn_about_their_middle(degrees: float):
    torch.manual_seed(0)
    kernel, angle = torch.randn(3, 3, dtype=torch.double), math.radians(degrees)
    matrix = rotation_matrices(torch.tensor(angle, dtype=torch.double))
    torch.testing.assert_close((matrix @ kernel.flatten()).view(3, 3), turned(kernel, angle))


def test_turning_keeps_constants_and_the_middle_and_mirrors():
    angles = torch.linspace(-0.7, 0.7, 29, dtype=torch.double)
    matrices = rotation_matrices(angles)
    torch.testing.assert_close(matrices.sum(-1), torch.ones(29, 9, dtype=torch.double))
    assert torch.equal(matrices[:, 4], torch.eye(9, dtype=torch.double)[4].expand(29, 9))
    assert torch.equal(rotation_matrices(torch.zeros(1))[0], torch.eye(9))
    kernel = torch.randn(9, dtype=torch.double)
    mirrored = (matrices.flip(0) @ kernel.view(3, 3).flip(1).flatten()).view(29, 3, 3).flip(2).flatten(1)
    torch.testing.assert_close(matrices @ kernel, mirrored)


def test_gradients_of_angles_and_gates():
    torch.manual_seed(0)
    weight = torch.randn(3, 2, 2, 3, 3, dtype=torch.double, requires_grad=True)
    gates = torch.rand(2, 3, dtype=torch.double, requires_grad=True)
    angles = torch.tensor([[0.3, -0.2, 0.6], [-0.5, 0.1, -0.69]], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(rotated_kernels, (weight, gates, angles))


@pytest.mark.parametrize(
    "args", [dict(padding=1), dict(stride=2, padding=2, dilation=2, groups=2, bias=True, kernel_number=3)], ids=str
)
def test_each_picture_is_convolved_with_its_own_kernel(args: dict):
    torch.manual_seed(0)
    layer = ARC(4, 6, 3, **args).eval()
    for parameter in layer.routing.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(3, 4, 9, 8) + 5 * torch.randn(3, 4, 1, 1)
    gates, angles = layer.routing(x)
    assert angles.abs().max() <= math.radians(40)
    expected = []
    for one, gate, angle in zip(x, gates, angles, strict=True):
        kernels = layer.weight.view(-1, 6, 4 // layer.groups, 3, 3)
        kernel = sum(
            g * torch.stack([turned(k, t.item()) for k in w.flatten(0, 1)]).view_as(w)
            for g, t, w in zip(gate, angle, kernels, strict=True)
        )
        expected.append(
            F.conv2d(one[None], kernel, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        )
    assert angles.std(0).max() > 0.02
    torch.testing.assert_close(layer(x), torch.cat(expected), atol=1e-5, rtol=1e-4)


def test_begins_with_outputs_of_the_size_that_he_chose():
    torch.manual_seed(0)
    plain = nn.Conv2d(64, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(plain.weight, mode="fan_out", nonlinearity="relu")
    x = torch.randn(4, 64, 16, 16)
    for number in (1, 4, 8):
        layer = ARC(64, 64, 3, padding=1, kernel_number=number).eval()
        assert 0.9 < (layer(x).std() / plain(x).std()).item() < 1.1
    module = ConvModule(64, 64, 3, padding=1, conv_cfg=dict(type="ARC"), norm_cfg=dict(type="BN"))
    assert 0.9 < (module.conv.eval()(x).std() / plain(x).std()).item() < 1.1


def test_wrong_use():
    with pytest.raises(ValueError, match="ARC: kernel_size must be 3, got 5"):
        ARC(4, 4, 5)
    with pytest.raises(ValueError, match="between 0 and 45 degrees, got 60"):
        ARC(4, 4, 3, proportion=60)
    with pytest.raises(ValueError, match="divisible by groups"):
        ARC(4, 4, 3, groups=3)


@pytest.fixture
def resnet_args() -> dict:
    return dict(type="ARCResNet", depth=50, base_channels=8, stem_channels=8, norm_cfg=dict(type="BN"))


def test_resnet_has_it_where_the_authors_do(resnet_args: dict):
    net = MODELS.build(resnet_args)
    found = [name for name, module in net.named_modules() if isinstance(module, ARC)]
    wanted = [f"layer{stage}.{i}.conv2" for stage, blocks in ((2, 4), (3, 6), (4, 3)) for i in range(blocks)]
    assert found == wanted
    assert net.layer2[0].conv2.stride == (2, 2)
    some = MODELS.build(resnet_args | dict(arc_blocks=((1,), (), (0, 5)), kernel_number=2))
    found = [name for name, module in some.named_modules() if isinstance(module, ARC)]
    assert found == ["layer1.1.conv2", "layer3.0.conv2", "layer3.5.conv2"]
    assert all(module.kernel_number == 2 for module in some.modules() if isinstance(module, ARC))


def test_resnet_learns_and_freezes(resnet_args: dict):
    torch.manual_seed(0)
    net = MODELS.build(resnet_args | dict(frozen_stages=2, zero_init_residual=False))
    net.init_weights()
    before = copy.deepcopy(net.state_dict())
    sum(out.square().mean() for out in net.train()(torch.randn(2, 3, 64, 64))).backward()
    torch.optim.SGD(net.parameters(), 0.1).step()
    moved = {key.split(".")[0] for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"layer3", "layer4"}
    assert net.layer4[0].conv2.routing.fc_theta.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("args", [dict(depth=18), dict(depth=50, arc_blocks=((), (4,)))], ids=str)
def test_resnet_refuses_what_it_has_not(args: dict):
    load_mmdet()
    with pytest.raises(ValueError, match="ARCResNet"):
        MODELS.build(dict(type="ARCResNet", **args))
