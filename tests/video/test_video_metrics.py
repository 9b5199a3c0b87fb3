import math

import numpy as np
import pytest

from toolkit.errors import UserError
from toolkit.video.metrics import (
    NO_OBJECT,
    box_iou,
    equal_error_rate,
    frame_scores,
    normalise,
    region_scores,
    roc_auc,
)


def pairwise_auc(scores, labels):
    """The definition: over all pairs of an odd and a normal frame, ties half."""
    odd, normal = scores[labels == 1][:, None], scores[labels == 0][None]
    return float(((odd > normal) + 0.5 * (odd == normal)).mean())


def test_auc_is_the_share_of_pairs_in_order_ties_half():
    rng = np.random.default_rng(0)
    for levels in (3, 50, 10**6):
        scores, labels = rng.integers(0, levels, 200).astype(float), rng.integers(0, 2, 200)
        assert roc_auc(scores, labels) == pytest.approx(pairwise_auc(scores, labels), abs=1e-12)
        assert roc_auc(-scores, labels) == pytest.approx(1 - roc_auc(scores, labels))
        assert roc_auc(np.exp(scores / levels), labels) == pytest.approx(roc_auc(scores, labels))
    assert roc_auc(np.zeros(4), np.array([0, 1, 1, 0])) == 0.5
    assert math.isnan(roc_auc(np.arange(3), np.ones(3)))
    assert math.isnan(roc_auc(np.empty(0), np.empty(0)))


def test_equal_error_rate_of_hand_counted_frames():
    # thresholds: 4 -> 0 of 4 false, 2 of 4 true; then 1 of 4 false, 3 of 4 true: both errors are 1/4
    scores = np.array([9, 8, 7, 6, 5, 4, 3, 2.0])
    labels = np.array([1, 1, 0, 1, 1, 0, 0, 0])
    assert equal_error_rate(scores, labels) == pytest.approx(0.25)
    assert equal_error_rate(labels.astype(float), labels) == 0.0
    assert equal_error_rate(1.0 - labels, labels) == 1.0
    assert equal_error_rate(np.zeros(8), labels) == 0.5
    assert math.isnan(equal_error_rate(scores, np.zeros(8)))


def test_clips_are_pooled_for_micro_and_averaged_for_macro():
    scores = [np.array([1, 2, 3, 4.0]), np.array([10, 20, 40, 30.0]), np.array([5.0, 6.0])]
    labels = [np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), np.array([1, 1])]
    raw, scaled = frame_scores(scores, labels), frame_scores(scores, labels, per_clip=True)
    assert raw.macro == scaled.macro == pytest.approx((1.0 + 1.0) / 2)
    assert (raw.clips, raw.left_out, raw.unscored) == (2, 1, 0)
    assert raw.micro == pytest.approx(pairwise_auc(np.concatenate(scores), np.concatenate(labels)))
    by_hand = [np.array([0, 1 / 3, 2 / 3, 1]), np.array([0, 1 / 3, 1, 2 / 3]), np.array([0.0, 1.0])]
    assert scaled.micro == pytest.approx(pairwise_auc(np.concatenate(by_hand), np.concatenate(labels)))
    assert scaled.micro != pytest.approx(raw.micro)


def test_frames_without_a_score_count_nowhere_and_are_counted():
    scores, labels = np.array([math.nan, 1, 2, math.nan, 3]), np.array([1, 0, 0, 0, 1])
    measured = frame_scores([scores], [labels])
    assert (measured.micro, measured.macro, measured.unscored) == (1.0, 1.0, 2)
    nothing = frame_scores([np.full(3, math.nan)], [np.ones(3)])
    assert np.isnan([nothing.micro, nothing.macro, nothing.eer]).all()
    assert nothing.left_out == 1


def test_a_clip_with_too_few_labels_is_named():
    with pytest.raises(UserError, match="07 has 2 labels for 3 frames"):
        frame_scores([np.zeros(3)], [np.zeros(2)], names=["07"])


def test_frames_without_objects_do_not_stretch_the_scale():
    assert normalise(np.array([NO_OBJECT, 2.0, 4.0, math.nan, 3.0])) == pytest.approx(
        [0, 0, 1, math.nan, 0.5], nan_ok=True
    )
    assert np.array_equal(normalise(np.full(3, 7.0)), np.zeros(3))
    assert np.array_equal(normalise(np.full(2, NO_OBJECT)), np.zeros(2))


@pytest.mark.shared
def test_the_floor_of_the_small_avenue_set_is_close_to_what_its_notes_say(shared):
    """Frame difference, largest 16x16 mean, 9-frame mean: 0.958 and 0.604 alone, 0.583 and 0.764 together."""
    import cv2

    from toolkit.video.datasets import find_clips
    from toolkit.video.frames import open_video

    clips = find_clips(shared / "data" / "avenue_mini", "test")
    scores, labels = [], []
    for clip in clips:
        last, values = None, []
        with open_video(clip.source) as video:
            for _, frame in video:
                grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.float32)
                blocks = np.abs(grey - (grey if last is None else last)).reshape(9, 16, 16, 16)
                values.append(blocks.mean((1, 3)).max())
                last = grey
        scores.append(np.convolve(np.pad(values, 4, mode="edge"), np.ones(9) / 9, "valid"))
        labels.append(clip.labels(np.arange(len(values)) / 25))
    raw, scaled = frame_scores(scores, labels), frame_scores(scores, labels, per_clip=True)
    # how the first frames and the ends of the mean were taken is not known
    assert raw.macro == pytest.approx((0.958 + 0.604) / 2, abs=0.03)
    assert raw.micro == pytest.approx(0.583, abs=0.03)
    assert scaled.micro == pytest.approx(0.764, abs=0.03)
    assert (raw.clips, raw.left_out) == (2, 1)


# --- regions --------------------------------------------------------------------------------------------------------

HERE, THERE = [0, 0, 10, 10], [50, 50, 60, 60]
NONE = (np.empty((0, 4)), np.empty(0))


def boxes(*entries):
    return np.array([box for box, _ in entries], float).reshape(-1, 4), [value for _, value in entries]


def test_intersection_over_union():
    assert box_iou(np.array([HERE]), np.array([HERE, THERE, [5, 0, 15, 10], [0, 0, 5, 10]])) == pytest.approx(
        np.array([[1, 0, 1 / 3, 0.5]])
    )
    assert box_iou(np.empty((0, 4)), np.array([HERE])).shape == (0, 1)


def test_a_perfect_detector_and_a_blind_one():
    truth = [boxes((HERE, "a")), NONE, boxes((THERE, "b"))]
    assert region_scores([boxes((HERE, 1.0)), NONE, boxes((THERE, 0.5))], truth) == (1.0, 1.0)
    assert region_scores([NONE] * 3, truth) == (0.0, 0.0)
    assert all(math.isnan(value) for value in region_scores([NONE], [NONE]))


def test_hand_counted_curve():
    """Four frames, 4 true regions of 2 tracks. In order of score: hit a, miss, hit a, miss, miss, hit b.

    Points (false regions a frame, share of regions, share of tracks): (0, 1/4, 1), (1/4, 1/4, ..), (1/4, 2/4, ..),
    (2/4, 2/4), (3/4, 2/4), (3/4, 3/4); then flat to 1. A track needs one tenth of its regions, so one.
    """
    truth = [boxes((HERE, "a")), boxes((HERE, "a")), boxes((HERE, "b")), boxes((HERE, "a"))]
    found = [
        boxes((HERE, 0.9), (THERE, 0.8)),
        boxes((HERE, 0.7), (THERE, 0.6)),
        boxes((THERE, 0.5), (HERE, 0.4)),
        NONE,
    ]
    regions = 0.25 * 0.25 + 0.5 * 0.5 + 0.25 * 0.75
    tracks = 0.75 * 0.5 + 0.25 * 1.0
    assert region_scores(found, truth) == pytest.approx((regions, tracks))


def test_the_curve_is_cut_at_one_false_region_a_frame():
    """One frame: a miss at 0.9, then at 0.5 the hit with two misses: the line (1, 0) to (3, 1) lies beyond."""
    found = [boxes((THERE, 0.9), ([70, 70, 80, 80], 0.5), ([90, 90, 99, 99], 0.5), (HERE, 0.5))]
    assert region_scores(found, [boxes((HERE, "a"))]) == (0.0, 0.0)
    # without the first miss the line goes from (0, 0) to (2, 1): up to 1 it covers a triangle of 1 * 0.5 / 2
    found = [boxes(([70, 70, 80, 80], 0.5), ([90, 90, 99, 99], 0.5), (HERE, 0.5))]
    assert region_scores(found, [boxes((HERE, "a"))]) == pytest.approx((0.25, 0.25))


def test_a_track_is_found_with_a_tenth_of_its_regions_and_overlap_of_a_tenth():
    truth = [boxes((HERE, "long"))] * 20
    one = [boxes((HERE, 1.0))] + [NONE] * 19
    assert region_scores(one, truth) == pytest.approx((0.05, 0.0))
    assert region_scores(one[:1] * 2 + [NONE] * 18, truth) == pytest.approx((0.1, 1.0))
    slim, slimmer = [0, 0, 1.0, 10], [0, 0, 0.9, 10]
    assert region_scores([boxes((slim, 1.0))], truth[:1]) == (1.0, 1.0)
    assert region_scores([boxes((slimmer, 1.0))], truth[:1]) == (0.0, 0.0)


def test_more_regions_on_one_object_are_not_false():
    found = [boxes((HERE, 0.9), ([0, 0, 9, 10], 0.8), ([0, 0, 10, 8], 0.7))]
    assert region_scores(found, [boxes((HERE, "a"))]) == (1.0, 1.0)
