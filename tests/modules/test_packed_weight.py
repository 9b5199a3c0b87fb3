import copy

import pytest
import torch
from torch import nn

from toolkit.modules.packed_weight import ACTIVATIONS, PackedLinear, product


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_packed_layers_follow_new_weights_sizes_copies_and_autocast(activation: str, bias: bool):
    torch.manual_seed(0)
    linear, other = nn.Linear(24, 40, bias), nn.Linear(24, 40, bias)
    packed = PackedLinear.of(linear, activation)

    def expected(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        y = layer(x)
        return y if activation == "none" else getattr(nn.functional, activation)(y)

    for shape in ((2, 7, 24), (1, 49, 24), (3, 24), (0, 7, 24)):
        x = torch.randn(shape)
        torch.testing.assert_close(packed(x), expected(linear, x), atol=1e-5, rtol=0)
    x = torch.randn(2, 24, 9).transpose(1, 2)
    torch.testing.assert_close(copy.deepcopy(packed)(x), expected(linear, x), atol=1e-5, rtol=0)
    with torch.no_grad():
        packed.weight.mul_(2)
        torch.testing.assert_close(packed(x), packed.double()(x.double()).float(), atol=1e-5, rtol=0)
    packed.float().load_state_dict(other.state_dict())
    torch.testing.assert_close(packed(x), expected(other, x), atol=1e-5, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert packed(x).dtype == torch.bfloat16
    exported = torch.export.export(packed, (x,)).module()
    torch.testing.assert_close(exported(x), expected(other, x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch", [0, 1, 2])
@torch.no_grad()
def test_product_is_a_matrix_product_also_of_views(batch: int):
    torch.manual_seed(0)
    x, y = torch.randn(batch, 30, 20).transpose(1, 2), torch.randn(batch, 30, 48)[..., ::2]
    torch.testing.assert_close(product(x, y), x @ y, atol=1e-5, rtol=1e-5)
