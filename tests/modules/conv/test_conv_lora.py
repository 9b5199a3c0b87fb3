import pytest
import torch
from torch import nn

from toolkit.deploy import deploy
from toolkit.modules.conv.conv_lora import ConvLoRA1d, ConvLoRA2d, ConvLoRA3d, add_conv_lora

ARGS = dict(kernel_size=3, stride=2, padding=1, groups=2)
SIZES = pytest.mark.parametrize(
    ("plain", "ours", "shape"),
    [
        (nn.Conv1d, ConvLoRA1d, (2, 8, 9)),
        (nn.Conv2d, ConvLoRA2d, (2, 8, 9, 7)),
        (nn.Conv3d, ConvLoRA3d, (2, 8, 5, 6, 7)),
    ],
)


@SIZES
def test_begins_as_the_plain_convolution_and_merges_into_one(plain, ours, shape):
    torch.manual_seed(0)
    conv, x = plain(8, 6, **ARGS), torch.randn(shape)
    module = ours.from_conv(conv, rank=2, alpha=3)
    assert torch.equal(module(x), conv(x))
    nn.init.normal_(module.lora_b)
    change = (module.lora_b @ module.lora_a).view_as(conv.weight) * 1.5
    expected = conv(x) + plain(8, 6, **ARGS, bias=False).requires_grad_(False)._conv_forward(x, change, None)
    torch.testing.assert_close(module(x), expected)
    before = module(x)
    module.switch_to_deploy()
    torch.testing.assert_close(module(x), before)
    assert module.state_dict().keys() == conv.state_dict().keys()


def test_the_change_has_the_rank_it_says():
    torch.manual_seed(0)
    module = ConvLoRA2d(16, 12, 3, rank=2)
    nn.init.normal_(module.lora_b)
    change = (module.lora_b @ module.lora_a).detach()
    assert torch.linalg.matrix_rank(change) == 6  # rank times kernel size, of 36 x 48
    with pytest.raises(ValueError, match="ConvLoRA2d: rank must be at least 1, got 0"):
        ConvLoRA2d(16, 12, 3, rank=0)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten())


def test_a_trained_network_learns_through_the_changes_alone_and_folds():
    model, x = network(), torch.randn(4, 3, 5, 5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert add_conv_lora(model, rank=2) == ["0", "3"]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    losses = []
    for _ in range(20):
        losses.append((model.eval()(x) - 1).square().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    expected = model(x).detach()
    torch.testing.assert_close(deploy(model)(x), expected, atol=1e-5, rtol=1e-4)


def test_layers_are_chosen_by_name():
    model = network()
    assert add_conv_lora(model, r"^3$") == ["3"]
    with pytest.raises(ValueError, match="no convolution has a name with 'neck'"):
        add_conv_lora(network(), "neck")
