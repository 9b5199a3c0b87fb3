import torch
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from torch import Tensor

SHAPES = torch.tensor([[4, 5], [2, 3]])
START = torch.tensor([0, 20])


def inputs() -> list[Tensor]:
    """Value (2, 26, 2, 3), locations (2, 3, 2, 2, 2, 2) partly outside the maps, weights (2, 3, 2, 2, 2)."""
    value = torch.randn(2, 26, 2, 3)
    locations = torch.rand(2, 3, 2, 2, 2, 2) * 1.4 - 0.2
    weights = torch.rand(2, 3, 2, 2, 2)
    return [t.double().requires_grad_() for t in (value, locations, weights)]


def attend(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    return MultiScaleDeformableAttnFunction.apply(value, SHAPES, START, locations, weights, 64)


def test_attention_is_a_weighted_sum_of_bilinear_samples():
    value, locations, weights = (t.detach() for t in inputs())
    expected = torch.zeros(2, 3, 2, 3, dtype=torch.float64)
    for b, q, head, level, point in torch.cartesian_prod(*map(torch.arange, (2, 3, 2, 2, 2))).tolist():
        height, width = SHAPES[level].tolist()
        x = locations[b, q, head, level, point, 0].item() * width - 0.5
        y = locations[b, q, head, level, point, 1].item() * height - 0.5
        for row in range(height):
            for column in range(width):
                near = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
                pixel = value[b, START[level] + row * width + column, head]
                expected[b, q, head] += weights[b, q, head, level, point] * near * pixel
    torch.testing.assert_close(attend(value, locations, weights), expected.flatten(2))


def test_attention_gradient():
    assert torch.autograd.gradcheck(attend, inputs())
