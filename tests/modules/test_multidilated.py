"""D2 and D3 blocks against dense connections written out source by source, and against the published ones."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.commands.parity import main as parity
from toolkit.modules.conv.multidilated import D2Block, D3Block
from toolkit.published.d3net import recognises, rename

CASES = Path(__file__).resolve().parents[1] / "parity"


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point():
            tensor.data = torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor) * 0.3
    return module.eval().double()


def d2_by_formula(block: D2Block, x: Tensor) -> Tensor:
    """Each layer in turn; the part of its kernel that reads source j has dilation 2^j."""
    growth, sources = block.growth_rate, [x]
    for target in range(len(block.convs)):
        y = 0
        for j, source in enumerate(sources):
            norm, conv = block.norms[j], block.convs[j]
            shape = (1, -1, 1, 1)
            z = (source - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + 1e-5).sqrt()
            z = (z * norm.weight.view(shape) + norm.bias.view(shape)).clamp(min=0)
            mine = slice(growth * (target - j), growth * (target - j + 1))
            reach = 2**j * (conv.kernel_size[0] // 2)
            y = y + F.conv2d(z, conv.weight[mine], conv.bias[mine], padding=reach, dilation=2**j)
        sources.append(y)
    return sources[-1]


@pytest.mark.parametrize(("layers", "kernel"), [(1, 3), (4, 3), (3, 5)])
def test_d2_is_a_dense_connection_with_a_dilation_for_each_source(layers: int, kernel: int) -> None:
    block = randomised(D2Block(3, 2, layers, kernel))
    x = torch.randn(2, 3, 20, 17, dtype=torch.float64)
    want = d2_by_formula(block, x)
    assert want.shape == (2, 2, 20, 17)
    assert (block(x) - want).abs().max() < 1e-12 * want.abs().max()


def test_d3_connects_d2_blocks_as_densely() -> None:
    block = randomised(D3Block(3, 2, 3, 3))
    x = torch.randn(1, 3, 18, 15, dtype=torch.float64)
    a = d2_by_formula(block.blocks[0], x)
    b = d2_by_formula(block.blocks[1], a[:, :2])
    want = a[:, 4:] + b[:, 2:] + d2_by_formula(block.blocks[2], a[:, 2:4] + b[:, :2])
    assert (block(x) - want).abs().max() < 1e-12 * want.abs().max()


def test_dilations_reach_far_and_leave_no_gaps() -> None:
    """Every position within 2^L - 1 is seen, none beyond: dilations add up along the path of all layers."""
    block = randomised(D2Block(1, 4, 4))
    x = torch.randn(1, 1, 41, 41, dtype=torch.float64, requires_grad=True)
    block.train()(x)[0, :, 20, 20].sum().backward()
    block.eval()
    x.grad = None
    block(x)[0, :, 20, 20].sum().backward()
    seen = x.grad[0, 0].abs().sum(0) > 0
    assert seen.nonzero().flatten().tolist() == list(range(20 - 15, 20 + 16))


def test_even_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="odd, got 4"):
        D2Block(3, 2, 3, 4)


def test_published_names_go_to_their_block_and_layer() -> None:
    names = {
        "initial_block.initial_layer.bottleneck.norm1.bn.gamma": "blocks.0.norms.0.weight",
        "initial_block.layers.layer3.bottleneck.conv1.conv.bias": "blocks.0.convs.3.bias",
        "layers.layer2.initial_layer.bottleneck.norm1.bn.running_var": "blocks.2.norms.0.running_var",
        "layers.layer1.layers.layer4.bottleneck.norm1.bn.beta": "blocks.1.norms.4.bias",
        "band.d3.layers.layer1.initial_layer.bottleneck.conv1.conv.weight": "band.d3.blocks.1.convs.0.weight",
        "initial_layer.bottleneck.conv1.conv.weight": "convs.0.weight",
    }
    assert {key: rename(key) for key in names} == names
    assert recognises(set(names))
    assert not recognises({*names, "backbone.conv1.weight"})


def test_published_blocks(capsys: pytest.CaptureFixture) -> None:
    assert parity([str(CASES / "d3net_d2_block.json"), str(CASES / "d3net_d3_block.json")]) == 0
    assert "2 ok, 0 failed" in capsys.readouterr().out
