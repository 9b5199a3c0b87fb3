import pytest
import torch

from toolkit.backbones.ninformer import Block, NiNformer

SMALL = dict(patch_size=4, d_model=16, d_ffn=24, num_layers=3)


def test_the_mixer_gates_and_one_norm_serves_both_halves():
    torch.manual_seed(0)
    block = Block(6, 8, 12, 0.0).double()
    with torch.no_grad():
        block.norm.weight.normal_()
        block.norm.bias.normal_()
    x = torch.randn(2, 6, 8, dtype=torch.float64)

    def norm(value):
        centred = value - value.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * block.norm.weight + block.norm.bias

    y = x + block.gate(norm(x)) * block.mixer(norm(x))
    torch.testing.assert_close(block(x), y + block.mlp(norm(y)))


def test_tokens_see_each_other_by_the_gate_alone():
    torch.manual_seed(0)
    block = Block(6, 8, 12, 0.0)
    x = torch.randn(1, 6, 8, requires_grad=True)
    (reach,) = torch.autograd.grad(block(x)[0, 0].sum(), x)
    assert (reach[0].abs().amax(1) > 0).all()
    with torch.no_grad():
        block.gate.weight.zero_()
        block.gate.bias.zero_()
    (reach,) = torch.autograd.grad(block(x)[0, 0].sum(), x)
    assert (reach[0, 1:] == 0).all()


def test_maps_are_the_patches_and_logits_their_mean():
    torch.manual_seed(0)
    model = NiNformer(SMALL, (16, 24), num_classes=5, in_channels=2).eval()
    maps = NiNformer(SMALL, (16, 24), in_channels=2, out_indices=(1, 2)).eval()
    maps.load_state_dict({key: value for key, value in model.state_dict().items() if "classifier" not in key})
    x = torch.randn(2, 2, 16, 24)
    first, last = maps(x)
    assert maps.out_channels == (16, 16)
    assert maps.strides == (4, 4)
    assert first.shape == last.shape == (2, 16, 4, 6)
    torch.testing.assert_close(model(x), model.classifier(last.mean((2, 3))))


def test_recomputing_and_freezing():
    x = torch.randn(2, 3, 16, 16)
    plain, saving = (NiNformer(SMALL, 16, drop_rate=0.2, drop_path_rate=0.3, with_cp=flag) for flag in (False, True))
    saving.load_state_dict(plain.state_dict())
    for model in (plain, saving):
        torch.manual_seed(1)
        model.train()(x)[0].square().sum().backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    frozen = NiNformer(SMALL, 16, frozen_stages=2).train()
    still = {name.split(".")[0] + name.split(".")[1] for name, p in frozen.named_parameters() if not p.requires_grad}
    assert still == {"patcherweight", "patcherbias", "blocks0", "blocks1"}
    assert not frozen.blocks[1].training
    assert frozen.blocks[2].training


def test_the_classifier_has_the_published_size():
    assert sum(parameter.numel() for parameter in NiNformer(num_classes=10).parameters()) == 2652170


def test_other_sizes_of_pictures_are_refused():
    with pytest.raises(ValueError, match=r"built for pictures of \(32, 32\), got \(32, 36\)"):
        NiNformer(SMALL)(torch.randn(1, 3, 32, 36))
    with pytest.raises(ValueError, match="image_size must be divisible by patch_size 4, got 30"):
        NiNformer(SMALL, 30)
