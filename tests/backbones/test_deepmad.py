import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from toolkit.backbones.deepmad import ARCHS, Bottleneck, ConvNorm, DeepMAD, FusedConv, parse_structure
from toolkit.deploy import deploy

SMALL = [
    {"class": "ConvKXBNRELU", "in": 3, "k": 3, "out": 8, "s": 2},
    {"class": "SuperResK1KXK1", "in": 8, "k": 5, "out": 16, "s": 2, "btn": 8, "L": 2},
    {"class": "SuperResK1KXK1", "in": 16, "k": 3, "out": 16, "s": 1, "btn": 8, "L": 1},
    {"class": "SuperResK1KXK1", "in": 16, "k": 3, "out": 24, "s": 2, "btn": 8, "L": 2},
    {"class": "ConvKXBNRELU", "in": 24, "k": 1, "out": 40, "s": 1},
]


def trained(model: nn.Module) -> nn.Module:
    """`model` with norms that change what goes through them."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_()
    return model.eval()


def test_the_inference_form_gives_the_same_without_norms():
    model = trained(DeepMAD(SMALL, out_indices=(1,), num_classes=7))
    light = deploy(copy.deepcopy(model))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in light.modules())
    for size in ((64, 64), (75, 41), (64, 64)):
        x = torch.randn(2, 3, *size)
        want, tolerance = model(x), 1e-4 * model(x).abs().max()
        assert (light(x) - want).abs().max() <= tolerance
        assert (copy.deepcopy(light)(x) - want).abs().max() <= tolerance
        assert torch.equal(deploy(light)(x), light(x))


def test_both_ways_of_the_fused_convolution_agree():
    layer = FusedConv.of(trained(ConvNorm(6, 8, 3, 2)))
    x, skip = torch.randn(2, 6, 9, 7), torch.randn(2, 8, 5, 4)
    for arguments in ((x,), (x, skip)):
        plain = layer(x.clone().requires_grad_(), *arguments[1:])  # what asks for gradients goes by plain operators
        assert plain.requires_grad
        torch.testing.assert_close(layer(*arguments), plain, rtol=1e-4, atol=1e-5)


def test_new_weights_reach_the_fused_convolution():
    first, second = (FusedConv.of(trained(ConvNorm(4, 4, 3))) for _ in range(2))
    x = torch.randn(1, 4, 6, 6)
    old = first(x)
    with torch.no_grad():
        second.weight.mul_(2)
    first.load_state_dict(second.state_dict())
    assert torch.equal(first(x), second(x))
    assert not torch.allclose(first(x), old)


def test_the_skip_is_pooled_and_projected():
    block = trained(Bottleneck(6, 10, 4, 3, 2, True))
    x = torch.randn(1, 6, 8, 6)
    pooled = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    with torch.no_grad():
        block.conv3.bn1.weight.zero_()
        block.conv3.bn1.bias.zero_()
    torch.testing.assert_close(block(x), block.residual_proj(pooled).relu())


def test_stages_end_before_strided_layers():
    model = DeepMAD(SMALL, out_indices=(0, 1))
    assert model.out_channels == (16, 40)
    assert model.strides == (4, 8)
    assert len(DeepMAD(SMALL, out_indices=(0,)).block_list) == 3
    assert DeepMAD("R50").out_channels == (128, 512, 1024, 1232)


def test_published_sizes():
    for arch, count in (("R18", 11826088), ("R34", 21690160)):
        with torch.device("meta"):
            model = DeepMAD(arch, num_classes=1000)
        assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_text_of_the_search_is_a_network(tmp_path: Path):
    layers = [dict(layer, inner_class="ResK1KXK1") if "btn" in layer else layer for layer in ARCHS["R18"]]
    file = tmp_path / "found.txt"
    file.write_text(f"{{ 'best_structures': [ [\n {str(layers)[1:-1]} ]], 'space_arch': 'CnnNet'}}  \n")
    assert parse_structure(file.read_text()) == layers
    with torch.device("meta"):
        read, named = DeepMAD(str(file), num_classes=10), DeepMAD("R18", num_classes=10)
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (read, named)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found.txt: no literal with best_structures"),
        ("__import__('os').getcwd()", "found.txt: no literal"),
        ("{'best_structures': [[{'class': 'SuperResK1DWSEK1'}]]}", "layer 0: class must be among .*K1DWSEK1"),
        ("{'best_structures': [[{'class': 'ConvKXBNRELU', 'in': 3, 'k': 3, 's': 2}]]}", "needs whole numbers out"),
        (str({"best_structures": [[SMALL[0], SMALL[2]]]}), "layer 1: in is 16, the layer before gives 8"),
        (str({"best_structures": [SMALL[1:]]}), "layer 0 must be a ConvKXBNRELU"),
    ],
)
def test_texts_that_are_no_network_are_named(text: str, message: str, tmp_path: Path):
    file = tmp_path / "found.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        DeepMAD(file)


def test_names_that_are_no_network_are_named():
    with pytest.raises(ValueError, match="R18, R34, R50 or a file of a network, got 'R19'"):
        DeepMAD("R19")
