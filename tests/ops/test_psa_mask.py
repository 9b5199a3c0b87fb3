import pytest
import torch
from mmcv.ops.psa_mask import PSAMask, psa_mask


@pytest.mark.parametrize("mask_size", [(3, 5), (7, 9), (4, 2)])
@pytest.mark.parametrize("psa_type", ["collect", "distribute"])
def test_psa_mask_equals_its_definition(psa_type, mask_size):
    rows, columns = mask_size
    x = torch.randn(2, rows * columns, 4, 5)
    expected = torch.zeros(2, 20, 4, 5)
    for h in range(4):
        for w in range(5):
            for i in range(rows):
                for j in range(columns):
                    y, z = h + i - (rows - 1) // 2, w + j - (columns - 1) // 2
                    if not (0 <= y < 4 and 0 <= z < 5):
                        continue
                    value = x[:, i * columns + j, h, w]
                    if psa_type == "collect":
                        expected[:, y * 5 + z, h, w] = value
                    else:
                        expected[:, h * 5 + w, y, z] = value
    assert torch.equal(PSAMask(psa_type, mask_size)(x), expected)


@pytest.mark.parametrize("psa_type", [0, 1])
def test_psa_mask_gradient(psa_type):
    x = torch.randn(2, 15, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: psa_mask(x, psa_type, (3, 5)), x)
