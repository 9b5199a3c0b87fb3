import numpy as np
import pytest
import torch

from toolkit.crowd.transforms import CropCrowd, FlipCrowd, GreyCrowd, PackCrowd, ResizeCrowd, ScaleCrowd


def sample(height: int = 60, width: int = 80) -> dict:
    """A black picture with three white pixels, a head in the middle of each."""
    image = np.zeros((height, width, 3), np.uint8)
    places = np.array([[10, 20], [40, 30], [70, 50]])
    image[places[:, 1], places[:, 0]] = 255
    return {"img": image, "points": places + 0.5, "spacing": np.full(3, 30.0)}


def bright(results: dict) -> set[tuple[int, int]]:
    rows, columns = np.nonzero(results["img"][..., 0] > 128)
    return set(zip(columns.tolist(), rows.tolist(), strict=True))


def inside(results: dict) -> set[tuple[int, int]]:
    height, width = results["img"].shape[:2]
    cells = {(int(np.floor(x)), int(np.floor(y))) for x, y in results["points"]}
    return {(x, y) for x, y in cells if 0 <= x < width and 0 <= y < height}


@pytest.mark.parametrize("seed", range(5))
def test_heads_stay_on_their_pixels(seed: int):
    np.random.seed(seed)
    results = FlipCrowd(prob=0.5).transform(CropCrowd((40, 50)).transform(sample()))
    assert bright(results) == inside(results)
    twice = FlipCrowd(prob=1).transform(FlipCrowd(prob=1).transform(dict(results)))
    np.testing.assert_allclose(twice["points"], results["points"])
    np.testing.assert_allclose(twice["extent"], results["extent"])


def test_a_crop_counts_what_it_shows_of_the_whole_density():
    np.random.seed(3)
    whole = PackCrowd(sigma=4.0).transform(sample())["density"][0]
    results = CropCrowd((40, 50)).transform(sample())
    left, top = (-results["extent"][:2]).astype(int)
    left, top = left - left % 2, top - top % 2
    results = sample()
    results["img"] = results["img"][top : top + 40, left : left + 50]
    results["points"] -= (left, top)
    results["extent"] = np.array([-left, -top, 80 - left, 60 - top])
    part = PackCrowd(sigma=4.0).transform(results)["density"][0]
    torch.testing.assert_close(part, whole[top // 2 : top // 2 + 20, left // 2 : left // 2 + 25], atol=1e-6, rtol=0)


def test_scaling_moves_heads_and_their_distances():
    np.random.seed(0)
    results = ScaleCrowd((2.0, 2.0)).transform(sample())
    assert results["img"].shape[:2] == (120, 160)
    np.testing.assert_allclose(results["points"], 2 * sample()["points"])
    np.testing.assert_allclose(results["spacing"], 60)
    assert min(ScaleCrowd((0.1, 0.1), min_side=48).transform(sample())["img"].shape[:2]) == 48


@pytest.mark.parametrize(("size", "expected"), [((1, 1), (16, 16)), ((334, 500), (336, 496)), ((24, 40), (32, 32))])
def test_sides_are_rounded_to_multiples_half_to_even(size: tuple[int, int], expected: tuple[int, int]):
    results = ResizeCrowd(multiple=16).transform({"img": np.zeros((*size, 3), np.uint8)})
    assert results["img"].shape[:2] == expected


def test_a_picture_without_heads_can_be_packed():
    empty = {"img": np.zeros((32, 32, 3), np.uint8), "points": np.zeros((0, 2)), "spacing": np.zeros(0)}
    packed = PackCrowd(sigma="adaptive").transform(empty)
    assert packed["count"] == 0
    assert packed["density"].shape == (1, 16, 16)
    assert not packed["density"].any()
    assert set(PackCrowd().transform({"img": empty["img"]})) == {"inputs", "img_path"}


def test_grey_pictures_keep_three_equal_channels():
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    grey = GreyCrowd(prob=1).transform({"img": image})["img"]
    assert (grey == grey[..., :1]).all()
    assert grey.std() > 0


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        CropCrowd((100, 100)).transform(sample())
    with pytest.raises(ValueError, match="adaptive"):
        PackCrowd(sigma="wide")
