import math

import pytest
import torch

from toolkit.crowd.losses import BayesianLoss, DensityAttentionLoss, RegionCountLoss


def test_density_and_attention_by_hand():
    density, target = torch.tensor([[[[0.5, 0.0]]], [[[0.0, 0.0]]]]), [torch.tensor([[[0.1, 0.0]]])] * 2
    attention = torch.full((2, 1, 1, 2), 0.5)
    losses = DensityAttentionLoss(density_weight=2.0, attention_weight=0.1)(density, attention, {"density": target})
    assert losses["loss_density"] == pytest.approx(2 * (0.16 + 0.01) / 2)
    assert losses["loss_attention"] == pytest.approx(0.1 * 4 * math.log(2) / 2)
    assert set(DensityAttentionLoss()(density, None, {"density": target})) == {"loss_density"}


def test_attention_that_is_right_costs_least():
    target = torch.zeros(1, 1, 4, 4)
    target[..., 1, 1] = 0.05
    good = DensityAttentionLoss()(target, (target > 0).float().clamp(0.01, 0.99), {"density": list(target)})
    bad = DensityAttentionLoss()(target, (target == 0).float().clamp(0.01, 0.99), {"density": list(target)})
    assert good["loss_attention"] < 0.1 * bad["loss_attention"]


def test_region_counts_forgive_what_moves_within_a_region():
    density, target = torch.zeros(1, 1, 6, 6), torch.zeros(1, 6, 6)
    density[0, 0, 0, 0], target[0, 5, 5] = 1.0, 1.0
    cost = {
        size: float(RegionCountLoss((size,))(density, None, {"density": [target]})["loss_count"]) for size in (0, 3, 4)
    }
    assert cost == {0: 0.0, 3: 2.0, 4: 2.0}  # 4 does not divide 6: the last regions are smaller


def targets(points: list, shares: list, sides: list) -> dict:
    return {
        "points": [torch.tensor(one).reshape(-1, 2) for one in points],
        "shares": [torch.tensor(one) for one in shares],
        "shorter_side": sides,
    }


def test_every_cell_belongs_to_somebody():
    loss = BayesianLoss(sigma=8.0, background_ratio=0.5)
    posterior = loss.posterior(torch.rand(5, 2) * 64, 64.0, (32, 32))
    assert posterior.shape == (6, 32 * 32)
    torch.testing.assert_close(posterior.sum(0), torch.ones(32 * 32))


def test_one_person_on_each_head_costs_nothing():
    loss = BayesianLoss(sigma=2.0, background_ratio=1.0)
    density = torch.zeros(1, 1, 32, 32)
    density[0, 0, 8, 8] = density[0, 0, 24, 24] = 1.0
    batch = targets([[[17.0, 17.0], [49.0, 49.0]]], [[1.0, 1.0]], [64.0])
    assert float(loss(density, None, batch)["loss_bayesian"]) < 1e-4
    assert float(loss(0.5 * density, None, batch)["loss_bayesian"]) == pytest.approx(1.0, abs=1e-3)


def test_nobody_costs_the_whole_density():
    density = torch.full((2, 1, 4, 4), 0.25)
    assert float(BayesianLoss()(density, None, targets([[], []], [[], []], [8.0, 8.0]))["loss_bayesian"]) == 4.0


def test_bayesian_gradient():
    density = torch.rand(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    batch = targets([[[2.0, 3.0], [6.0, 5.0]], []], [[1.0, 0.5], []], [8.0, 8.0])
    loss = BayesianLoss(sigma=3.0)
    loss(density, None, batch)["loss_bayesian"].backward()
    step = 1e-2 * torch.randn(density.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        change = loss(density + step, None, batch)["loss_bayesian"] - loss(density - step, None, batch)["loss_bayesian"]
    assert float(change) / 2 == pytest.approx(float((density.grad * step).sum()), rel=1e-2)
