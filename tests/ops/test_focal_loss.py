import mmcv.ops
import pytest
import torch
import torch.nn.functional as F


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_focal_loss_is_weighted_cross_entropy(gamma, weighted):
    x, target = 3 * torch.randn(7, 4), torch.tensor([0, 1, 2, 3, 4, 4, 1])
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0]) if weighted else None
    truth = F.one_hot(target, 5)[:, :4].float()
    miss = (x.sigmoid() - truth).abs()
    expected = F.binary_cross_entropy_with_logits(x, truth, reduction="none") * miss**gamma
    expected = expected * torch.where(truth > 0, 0.25, 0.75)
    if weighted:
        expected = expected * torch.cat([weight, torch.ones(1)])[target][:, None]
    torch.testing.assert_close(mmcv.ops.sigmoid_focal_loss(x, target, gamma, 0.25, weight, "none"), expected)
    mean = mmcv.ops.sigmoid_focal_loss(x, target, gamma, 0.25, weight, "mean")
    torch.testing.assert_close(mean, expected.sum() / 7)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)])
def test_focal_loss_gradient(reduction, weight):
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 1, 2, 3, 4, 4])
    assert torch.autograd.gradcheck(lambda x: mmcv.ops.sigmoid_focal_loss(x, target, 2.0, 0.25, weight, reduction), x)


def test_focal_loss_of_huge_logits_is_finite():
    x = torch.tensor([[300.0, -300.0]], requires_grad=True)
    loss = mmcv.ops.sigmoid_focal_loss(x, torch.tensor([1]), 2.0, 0.25, None, "sum")
    loss.backward()
    torch.testing.assert_close(loss.item(), 0.75 * 300 + 0.25 * 300)
    torch.testing.assert_close(x.grad, torch.tensor([[0.75, -0.25]]))
