"""Checkpoints of single convolutions as their authors save them, with what their layers compute."""

import torch
from torch import nn

from toolkit.modules.conv.arc import ARC
from toolkit.modules.conv.sgconv import SGConv
from toolkit.modules.conv.tvconv import TVConv
from toolkit.modules.conv.weighted_conv import WConv2d
from toolkit.published import convert


def in_network(state: dict) -> dict:
    """The state of a layer that is called 0 in a network, after another."""
    return {f"0.{key}": value for key, value in state.items()} | nn.Linear(2, 2).state_dict(prefix="1.")


def convert_strictly(state: dict, layer: nn.Module) -> dict:
    """The state of `layer` after loading the published `state`, alone and in a network."""
    for model, published in ((layer, state), (nn.Sequential(layer, nn.Linear(2, 2)), in_network(state))):
        converted = convert(published, model)
        assert converted.complete, converted.problems()
        assert converted.recognised == "single convolutions"
        model.load_state_dict(converted.state_dict)
    return layer.state_dict()


def test_tvconv_leaves_its_counts_behind():
    other, layer = TVConv(4, 4, size=(3, 3)), TVConv(4, 4, size=(3, 3))
    numbers = dict(TVConv_k=3, TVConv_k_square=9, stride=1, channels=4, h=3, w=3)
    published = other.state_dict() | {name: torch.tensor(value) for name, value in numbers.items()}
    got = convert_strictly(published, layer)
    assert all(torch.equal(got[key], value) for key, value in other.state_dict().items())


def test_arc_stacks_its_kernels():
    layer, kernels = ARC(4, 6, 3), torch.randn(4, 6, 4, 3, 3)
    published = {"weight": kernels}
    for key, value in layer.state_dict().items():
        if key != "weight":
            name = key.replace("routing.norm.", "routing.norm.norm.").replace("routing.", "rounting_func.")
            published[name] = value + 1
    got = convert_strictly(published, layer)
    assert torch.equal(got["weight"][6:12], kernels[1])


def test_sgconv_keeps_the_norm_of_a_trained_layer_and_takes_that_of_a_new_one():
    layer = SGConv(4, 32, 8, channels=2)
    state = {key: value for key, value in layer.state_dict().items() if key != "kernel_norm"}
    state |= {f"output_linear.0.{name}": state.pop(f"output_linear.{name}") for name in ("weight", "bias")}
    state["multiplier"] = torch.full((1, 4, 1), 2.0)
    norm = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None]  # in one published form (H, 1), in the other (channels, H, 1)
    for shape in ((4, 1), (2, 4, 1)):
        trained = state | dict(kernel_norm=norm.expand(shape), kernel_norm_initialized=torch.tensor(True))
        assert torch.equal(convert_strictly(trained, layer)["kernel_norm"], norm.expand(2, 4, 1))
    new = state | dict(kernel_norm=torch.zeros(2, 4, 1), kernel_norm_initialized=torch.tensor(False))
    converted = convert(new, layer)
    assert converted.missing == ["kernel_norm"]
    layer.load_state_dict(converted.state_dict)
    assert (layer.kernel_norm > 5).all()


def test_weighted_convolutions_compute_their_densities():
    layer = WConv2d(2, 3, 3)
    state = {key: value + 1 for key, value in layer.state_dict().items()}
    got = convert_strictly(state | dict(alfa=torch.ones(3), Phi=torch.ones(3, 3)), layer)
    assert all(torch.equal(got[key], state[key]) for key in ("weight", "bias"))
