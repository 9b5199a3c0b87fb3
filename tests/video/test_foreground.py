"""Boxes of objects and of motion by the published rules, and the patches in them."""

from dataclasses import replace

import numpy as np
import pytest

from toolkit.video.foreground import (
    PUBLISHED_RULES,
    cut_patches,
    detector_boxes,
    drop_covered,
    in_motion,
    motion_boxes,
    object_boxes,
    pixel_boxes,
    window,
)

RULES = PUBLISHED_RULES["shanghaitech"]
NONE = np.zeros((0, 4), np.float32)


def frames_of(
    *squares: tuple[int, int, int, int], value: int = 200, background: int = 50, size: tuple[int, int] = (80, 120)
) -> list[np.ndarray]:
    """One frame for each (x, y, width, height), which is painted into it."""
    frames = []
    for x, y, width, height in squares:
        frame = np.full((*size, 3), background, np.uint8)
        frame[y : y + height, x : x + width] = value
        frames.append(frame)
    return frames


def test_detections_need_score_and_area() -> None:
    detections = np.array(
        [
            [0, 0, 7, 7, 0.9],  # 64 with the added pixel
            [0, 0, 7, 6.9, 0.9],
            [0, 0, 30, 30, 0.5],  # not above
            [0, 0, 30, 30, 0.51],
        ]
    )
    boxes = detector_boxes(detections, RULES)
    assert boxes.tolist() == [[0, 0, 7, 7], [0, 0, 30, 30]]
    assert boxes.dtype == np.float32
    assert len(detector_boxes(np.zeros((0, 5)), RULES)) == 0


def test_a_box_goes_when_a_larger_one_covers_it_even_one_that_goes_itself() -> None:
    large, alone = [80, 0, 128, 139], [200, 200, 219, 219]
    middle = [90, 10, 149, 89]  # 39 of its 60 columns lie in the large one
    small = [140, 20, 148, 30]  # lies in the middle one and beside the large one
    assert drop_covered(np.array([large, alone, middle, small]), 0.6).tolist() == [alone, large]
    assert drop_covered(np.array([large, alone, small]), 0.6).tolist() == [small, alone, large]
    assert drop_covered(np.array([large, middle, alone]), 0.7).tolist() == [alone, middle, large]


def test_the_cover_is_the_share_of_the_smaller_box() -> None:
    box, half = [0, 0, 9, 9], [5, 0, 104, 99]
    assert len(drop_covered(np.array([box, half]), 0.5)) == 2  # exactly half is not more than half
    assert drop_covered(np.array([box, half]), 0.49).tolist() == [half]


def test_what_moves_gets_a_box_around_all_its_places() -> None:
    rules = replace(RULES, blur=1)
    boxes = motion_boxes(frames_of((30, 20, 20, 16), (36, 20, 20, 16), (36, 20, 20, 16)), NONE, rules)
    left, right = [28, 18, 38, 38], [48, 18, 58, 38]  # where it left and where it came, 2 pixels larger
    assert sorted(boxes.tolist()) == [left, right]
    assert boxes.dtype == np.float32
    blurred = motion_boxes(frames_of((30, 20, 20, 16), (36, 20, 20, 16), (36, 20, 20, 16)), NONE, RULES)
    assert sorted(blurred.tolist()) == [[27, 17, 39, 39], [47, 17, 59, 39]]  # one pixel more


def test_nothing_moves_in_still_frames_and_within_known_boxes() -> None:
    still = frames_of((30, 20, 20, 16), (30, 20, 20, 16), (30, 20, 20, 16))
    assert motion_boxes(still, NONE, RULES).shape == (0, 4)
    moving = frames_of((30, 20, 20, 16), (36, 20, 20, 16), (42, 20, 20, 16))
    assert len(motion_boxes(moving, NONE, RULES)) > 0
    assert len(motion_boxes(moving, np.array([[29.9, 19, 62.5, 36]]), RULES)) == 0
    at_the_border = np.array([[-9.0, -9, 200, 200]])
    assert len(motion_boxes(moving, at_the_border, RULES)) == 0


def test_differences_wrap_at_256_as_published() -> None:
    rules = replace(RULES, blur=1)
    flash = [np.full((80, 120, 3), 40, np.uint8) for _ in range(3)]
    flash[1][20:40, 30:50] = 40 + 64
    assert motion_boxes(flash, NONE, rules).tolist() == [[28, 18, 52, 42]]
    flash[1][20:40, 30:50] = 40 + 130  # 260 in all, which is 4
    assert len(motion_boxes(flash, NONE, rules)) == 0


def test_any_channel_may_change() -> None:
    for channel in range(3):
        frames = [np.full((80, 120, 3), 40, np.uint8) for _ in range(3)]
        frames[2][20:40, 30:50, channel] = 60
        assert len(motion_boxes(frames, NONE, RULES)) == 1


@pytest.mark.parametrize(
    ("square", "found"),
    [((30, 20, 7, 7), 0), ((30, 20, 8, 7), 1), ((10, 20, 90, 9), 0), ((10, 20, 89, 9), 1), ((30, 5, 7, 70), 0)],
)
def test_small_and_long_changes_do_not_count(square: tuple[int, int, int, int], found: int) -> None:
    empty = (0, 0, 0, 0)
    assert len(motion_boxes(frames_of(empty, empty, square), NONE, replace(RULES, blur=1))) == found


def test_motion_boxes_stay_in_the_frame() -> None:
    empty = (0, 0, 0, 0)
    rules = replace(RULES, blur=1)
    assert motion_boxes(frames_of(empty, empty, (0, 0, 20, 20)), NONE, rules).tolist() == [[0, 0, 22, 22]]
    assert motion_boxes(frames_of(empty, empty, (100, 61, 20, 19)), NONE, rules).tolist() == [[98, 59, 120, 80]]


def test_detected_objects_come_before_moving_ones() -> None:
    moving = frames_of((30, 20, 20, 16), (30, 20, 20, 16), (30, 60, 20, 16))
    detections = np.array([[70, 40, 110, 70, 0.9], [60, 10, 75, 25, 0.8], [26, 16, 54, 40, 0.7]])
    boxes = object_boxes(moving, RULES, detections)
    assert boxes[:3].tolist() == [[60, 10, 75, 25], [26, 16, 54, 40], [70, 40, 110, 70]]
    assert len(boxes) == 4  # the place that was left lies in a detected box
    assert boxes[3, 1] > 50
    assert len(object_boxes(moving, RULES)) == 2


def test_pixels_of_a_box_are_those_from_ceiling_to_ceiling_in_the_frame() -> None:
    boxes = np.array([[3.2, 4.0, 60.5, 70.1], [50.2, 60.0, 50.9, 90.0], [-5, -5, 300, 300]])
    assert pixel_boxes(boxes, (100, 160)).tolist() == [[4, 4, 61, 71], [51, 60, 51, 90], [0, 0, 160, 100]]


def test_boxes_without_flow_or_pixels_are_not_in_motion() -> None:
    flow = np.zeros((60, 80, 2), np.float32)
    flow[10, 20, 1] = -0.1
    boxes = np.array(
        [[20, 10, 30, 20], [21, 10, 30, 20], [19.5, 9.5, 20.5, 10.5], [20.2, 10, 20.9, 20], [90, 0, 99, 9]]
    )
    assert in_motion(boxes, flow).tolist() == [True, False, True, False, False]


def test_a_patch_of_its_own_size_is_the_picture() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (7, 60, 80, 3), np.uint8)
    patches = cut_patches(frames, np.array([[10.4, 5.0, 42.6, 37.0]]), 32)
    assert patches.dtype == np.uint8
    assert patches.shape == (1, 7, 3, 32, 32)
    # columns 11 to 42: 32 of them
    assert np.array_equal(patches[0], frames[:, 5:37, 11:43].transpose(0, 3, 1, 2))


def test_patches_are_interpolated_between_pixel_centres() -> None:
    rows, columns = np.mgrid[:60, :80].astype(np.float32)
    flow = np.stack((2 * columns + rows, 5 - columns), -1)[None]
    (patch,) = cut_patches(flow, np.array([[8.0, 12.0, 72.0, 44.0]]), 16)
    y = 12 + (np.arange(16) + 0.5) * 2 - 0.5
    x = 8 + (np.arange(16) + 0.5) * 4 - 0.5
    assert np.allclose(patch[0, 0], 2 * x[None] + y[:, None], atol=1e-3)
    assert np.allclose(patch[0, 1], np.broadcast_to(5 - x, (16, 16)), atol=1e-3)
    one_channel = cut_patches(flow[..., :1], np.array([[8.0, 12.0, 72.0, 44.0]]), 16)
    assert np.array_equal(one_channel[0, 0, 0], patch[0, 0])


def test_a_patch_needs_a_pixel() -> None:
    frames = np.zeros((2, 60, 80, 3), np.uint8)
    with pytest.raises(ValueError, match="no pixels in a frame of 80x60: columns 80:80"):
        cut_patches(frames, np.array([[90.0, 10, 99, 20]]))
    assert cut_patches(frames, NONE).shape == (0, 2, 3, 32, 32)


@pytest.mark.parametrize("length", [1, 4, 7, 12])
def test_windows_stay_in_the_video(length: int) -> None:
    for frame in range(length):
        shifted, repeated = window(frame, length, 3, "shift"), window(frame, length, 3, "repeat")
        assert repeated.tolist() == [min(max(frame + step, 0), length - 1) for step in range(-3, 4)]
        assert frame in shifted
        if length >= 7:
            assert shifted.tolist() == list(range(shifted[0], shifted[0] + 7))
            assert abs(shifted[3] - frame) == max(3 - frame, frame - (length - 4), 0)
        assert shifted.min() >= 0
        assert shifted.max() < length


def test_published_rules_differ_where_the_sets_do() -> None:
    empty, person = (0, 0, 0, 0), (30, 20, 20, 40)
    frames = frames_of(empty, empty, person)
    found = {name: len(motion_boxes(frames, NONE, rules)) for name, rules in PUBLISHED_RULES.items()}
    assert found == {"ped2": 1, "avenue": 0, "shanghaitech": 1}  # Avenue's camera is near
