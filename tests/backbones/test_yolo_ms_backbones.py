"""Backbones and necks of YOLO-MS: what their arguments do, beyond the parity cases."""

import pytest
import torch
from torch import nn

from toolkit.backbones.yolo_ms import YOLOMSBackbone, YOLOv8MSBackbone
from toolkit.necks.yolo_ms import YOLOMSPAFPN, YOLOv8MSPAFPN

SIZE = dict(deepen_factor=1 / 3, widen_factor=0.1)
PAIRS = [(YOLOMSBackbone, YOLOMSPAFPN), (YOLOv8MSBackbone, YOLOv8MSPAFPN)]
BACKBONES = [backbone for backbone, _ in PAIRS]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_out_indices_choose_among_the_four_strides(backbone: type[nn.Module]) -> None:
    torch.manual_seed(0)
    every = backbone(**SIZE, out_indices=(0, 1, 2, 3)).eval()
    some = backbone(**SIZE, out_indices=(0, 2)).eval()
    some.load_state_dict(every.state_dict())
    x = torch.randn(1, 3, 96, 64)
    outs = every(x)
    assert [tuple(out.shape[-2:]) for out in outs] == [(96 // s, 64 // s) for s in (4, 8, 16, 32)]
    assert all(torch.equal(a, b) for a, b in zip(some(x), (outs[0], outs[2]), strict=True))
    with pytest.raises(ValueError, match="out_indices must rise and be among 0, 1, 2, 3"):
        backbone(**SIZE, out_indices=(4,))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_frozen_parts_and_norms_stay_as_they_are_in_training(backbone: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = backbone(**SIZE, in_channels=4, frozen_stages=2, norm_eval=True).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.init_weights()
    model(torch.randn(2, 4, 64, 64))[-1].sum().backward()
    frozen = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith(("stem", "stage1", "stage2"))}
    running = [key for key in before if "running" in key]
    assert all(torch.equal(before[key], model.state_dict()[key]) for key in running)
    updating = backbone(**SIZE, frozen_stages=1).train()
    updating(torch.randn(2, 3, 64, 64))
    changed = {name for name, buffer in updating.named_buffers() if "tracked" in name and buffer > 0}
    assert changed
    assert not any(name.startswith(("stem", "stage1")) for name in changed)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_recomputing_gives_the_same_gradients(backbone: type[nn.Module]) -> None:
    torch.manual_seed(0)
    plain, saving = backbone(**SIZE), backbone(**SIZE, with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, saving):
        sum(out.square().mean() for out in model.train()(x)).backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize(("backbone", "neck"), PAIRS)
def test_necks_take_pictures_of_any_size(backbone: type[nn.Module], neck: type[nn.Module]) -> None:
    model = nn.Sequential(backbone(**SIZE), neck(**SIZE)).eval()
    features = model[0](torch.randn(1, 3, 75, 110))
    outs = model[1](features)
    assert [out.shape[-2:] for out in outs] == [feature.shape[-2:] for feature in features]


@pytest.mark.parametrize(("backbone", "neck"), PAIRS)
def test_every_level_sees_every_other(backbone: type[nn.Module], neck: type[nn.Module]) -> None:
    """Information passes both down and up: the gradient of each output reaches each input."""
    torch.manual_seed(0)
    features = [feature.detach().requires_grad_() for feature in backbone(**SIZE).train()(torch.randn(2, 3, 64, 64))]
    outs = neck(**SIZE).train()(features)
    for out in outs:
        grads = torch.autograd.grad(out.square().sum(), features, retain_graph=True)
        assert all(grad.abs().sum() > 0 for grad in grads)
