import numpy as np
import pytest

from toolkit.crowd.density import adaptive_sigmas, box_shares, density_map, spacings


def heads(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform((0, 0), size[::-1], (count, 2))


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("adaptive", [False, True])
def test_the_sum_is_the_number_of_heads_also_at_the_border(stride: int, adaptive: bool):
    points = np.concatenate((heads(300, (96, 128)), [[0, 0], [127.99, 95.99], [0.5, 50]]))
    sigmas = adaptive_sigmas(spacings(points)) if adaptive else 5.0
    assert density_map(points, sigmas, (96, 128), stride).sum() == pytest.approx(303, abs=1e-3)


def test_a_lone_head_is_a_gaussian():
    density = density_map(np.array([[50.0, 40.0]]), 4.0, (80, 100))
    y, x = np.mgrid[:80, :100] + 0.5
    expected = np.exp(-((x - 50) ** 2 + (y - 40) ** 2) / 32) / (32 * np.pi)
    np.testing.assert_allclose(density, expected, atol=0.01 * expected.max())  # a cell's middle is not its mean


def test_a_crop_has_the_values_of_the_whole_map():
    points = heads(200, (64, 96))
    whole = density_map(points, 3.0, (64, 96), 2)
    left, top = 20, 10
    crop = density_map(points - (left, top), 3.0, (32, 40), 2, (-left, -top, 96 - left, 64 - top))
    np.testing.assert_allclose(crop, whole[5:21, 10:30], atol=1e-6)


def test_coarser_cells_are_sums_of_finer_ones():
    points = heads(50, (64, 64))
    fine, coarse = density_map(points, 3.0, (64, 64), 1), density_map(points, 3.0, (64, 64), 4)
    np.testing.assert_allclose(fine.reshape(16, 4, 16, 4).sum((1, 3)), coarse, atol=1e-6)


def test_nobody_is_an_empty_map():
    assert not density_map(np.zeros((0, 2)), 3.0, (16, 16), 2).any()


def test_spacings_are_means_of_the_three_nearest():
    points = np.array([[0, 0], [3, 0], [0, 4], [10, 0], [100, 100]], float)
    assert spacings(points)[0] == pytest.approx((3 + 4 + 10) / 3)
    assert spacings(points[:1]) == np.inf
    assert np.isfinite(adaptive_sigmas(spacings(points[:1]))).all()


def test_twins_in_one_place_have_a_least_deviation():
    assert adaptive_sigmas(spacings(np.ones((5, 2)))).min() == 1.0


def test_share_of_boxes_inside():
    shares = box_shares(np.array([[50.0, 50], [0, 50], [0, 0]]), np.array([10.0, 10, 10]), (100, 100))
    np.testing.assert_allclose(shares, [1, 0.5, 0.25])
