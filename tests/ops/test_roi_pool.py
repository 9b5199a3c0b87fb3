import math

import mmcv.ops
import torch
from torch import Tensor

ROIS = torch.tensor(
    [[0, 1.3, 2.1, 9.2, 7.4], [1, -3, -2, 4.7, 5.2], [1, 6, 3, 30.3, 25.1], [0, 40, 40, 44, 44]], dtype=torch.float64
)


def reference(x: Tensor, rois: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    output = torch.zeros(len(rois), x.size(1), *size, dtype=x.dtype)
    for k, (batch, x1, y1, x2, y2) in enumerate(rois.tolist()):
        left, top = x1 * scale, y1 * scale
        across, down = ((x2 + 1) * scale - left) / size[1], ((y2 + 1) * scale - top) / size[0]
        for i in range(size[0]):
            for j in range(size[1]):
                rows = slice(max(math.floor(top + i * down), 0), max(math.ceil(top + (i + 1) * down), 0))
                columns = slice(max(math.floor(left + j * across), 0), max(math.ceil(left + (j + 1) * across), 0))
                pixels = x[int(batch), :, rows, columns].flatten(1)
                if pixels.size(1):
                    output[k, :, i, j] = pixels.amax(1)
    return output


def test_roi_pool_equals_its_definition():
    x = torch.randn(2, 3, 8, 9, dtype=torch.float64)
    torch.testing.assert_close(mmcv.ops.roi_pool(x, ROIS, (3, 2), 0.6), reference(x, ROIS, (3, 2), 0.6))


def test_roi_pool_gradient():
    x = torch.randn(2, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: mmcv.ops.roi_pool(x, ROIS, (3, 2), 0.6), x)


def test_a_box_turned_inside_out_gives_zero_and_no_gradient():
    x = torch.randn(1, 2, 5, 5, requires_grad=True)
    output = mmcv.ops.roi_pool(x, torch.tensor([[0.0, 4, 4, 1, 1]]), 2, 1.0)
    output.sum().backward()
    assert not output.any()
    assert not x.grad.any()
