import mmcv.ops
import torch


def boxes() -> torch.Tensor:
    corner = torch.rand(2, 5, 2, dtype=torch.float64) * 5 - 1.5
    return torch.cat([corner, corner + torch.rand(2, 5, 2, dtype=torch.float64) * 6], 2)


def test_border_align_equals_its_definition(sample):
    x, box = torch.randn(2, 12, 6, 7, dtype=torch.float64), boxes()
    output = mmcv.ops.border_align(x, box, 4)
    walk = torch.arange(5).double() / 4
    for b in range(2):
        for k in range(5):
            x1, y1, x2, y2 = box[b, k]
            lines = [
                (y1 + 0 * walk, x1 + (x2 - x1) * walk),
                (y1 + (y2 - y1) * walk, x1 + 0 * walk),
                (y2 + 0 * walk, x2 - (x2 - x1) * walk),
                (y2 - (y2 - y1) * walk, x2 + 0 * walk),
            ]
            for side, (y, along) in enumerate(lines):
                expected = sample(x[b, 3 * side : 3 * side + 3], y, along).amax(1)
                torch.testing.assert_close(output[b, :, k, side], expected)


def test_border_align_gradient():
    x, box = torch.randn(2, 8, 5, 6, dtype=torch.float64, requires_grad=True), boxes()
    assert torch.autograd.gradcheck(lambda x: mmcv.ops.border_align(x, box, 3), x)
