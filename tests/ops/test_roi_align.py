import math

import mmcv.ops
import pytest
import torch
from torch import Tensor

ROIS = torch.tensor(
    [[0, 1.3, 2.1, 9.2, 7.4], [1, -3, -2, 4.7, 5.2], [1, 6, 3, 17.3, 15.1], [0, 2, 2, 2.4, 2.3]], dtype=torch.float64
)


def reference(x: Tensor, rois: Tensor, size, scale: float, ratio: int, mode: str, aligned: bool, sample) -> Tensor:
    output = []
    for roi in rois:
        x1, y1, x2, y2 = (roi[1:] * scale - (0.5 if aligned else 0)).tolist()
        extent = [y2 - y1, x2 - x1] if aligned else [max(y2 - y1, 1), max(x2 - x1, 1)]
        (down, across), bins = (extent[0] / size[0], extent[1] / size[1]), []
        rows, columns = ratio or math.ceil(down), ratio or math.ceil(across)
        for i in range(size[0]):
            for j in range(size[1]):
                y = y1 + (i + (torch.arange(rows).double() + 0.5) / rows) * down
                xs = x1 + (j + (torch.arange(columns).double() + 0.5) / columns) * across
                grid = torch.meshgrid(y, xs, indexing="ij")
                values = sample(x[int(roi[0])], grid[0].flatten(), grid[1].flatten())
                bins.append(values.mean(1) if mode == "avg" else values.amax(1))
        output.append(torch.stack(bins, 1).view(-1, *size))
    return torch.stack(output)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_equals_its_definition(mode, aligned, ratio, sample):
    x = torch.randn(2, 3, 8, 9, dtype=torch.float64)
    options = ((3, 2), 0.6, ratio, mode, aligned)
    torch.testing.assert_close(mmcv.ops.roi_align(x, ROIS, *options), reference(x, ROIS, *options, sample))


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_gradient(mode, aligned, ratio):
    x = torch.randn(2, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: mmcv.ops.roi_align(x, ROIS, (3, 2), 0.6, ratio, mode, aligned), x)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align_in_bfloat16(mode):
    x = torch.randn(2, 3, 8, 9)
    full = mmcv.ops.roi_align(x, ROIS.float(), (3, 2), 0.6, 0, mode)
    half = mmcv.ops.roi_align(x.bfloat16(), ROIS.float(), (3, 2), 0.6, 0, mode)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), full, atol=0.03, rtol=0.02)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_no_rois_give_an_empty_output_and_no_gradient(mode):
    x = torch.randn(2, 3, 8, 9, requires_grad=True)
    output = mmcv.ops.roi_align(x, torch.zeros(0, 5), (2, 2), 1.0, 0, mode)
    output.sum().backward()
    assert output.shape == (0, 3, 2, 2)
    assert not x.grad.any()
