"""The baseline that learns nothing: blocks of the difference to the frame before."""

import numpy as np
import pytest

from toolkit.video.datasets import find_clips
from toolkit.video.frame_difference import FrameDifference
from toolkit.video.metrics import frame_scores
from toolkit.video.scorer import segments


def grey_video(seed=0, count=7, height=50, width=71):
    """Grey noise, so that the grey picture of a frame is known exactly."""
    noise = np.random.default_rng(seed).integers(0, 256, (count, height, width, 1)).astype(np.uint8)
    return list(noise.repeat(3, 3))


def blocks(height, width):
    """Corners of all blocks, by the rule in words: every 8 pixels, and one that ends with the frame."""
    rows = [y for y in range(0, height, 8) if y + 16 < height] + [height - 16]
    columns = [x for x in range(0, width, 8) if x + 16 < width] + [width - 16]
    return [(x, y) for y in rows for x in columns]


def test_error_is_the_largest_mean_over_blocks():
    frames = grey_video()
    found = FrameDifference().measure(frames, range(7))
    assert found[0] is None
    for before, frame, regions in zip(frames[:-1], frames[1:], found[1:], strict=True):
        change = np.abs(frame[..., 0].astype(float) - before[..., 0])
        means = {(x, y): change[y : y + 16, x : x + 16].mean() for x, y in blocks(50, 71)}
        x, y = max(means, key=means.get)
        assert regions.errors[0, 0] == pytest.approx(means[x, y], rel=1e-6)
        assert regions.boxes[0].tolist() == [x, y, x + 16, y + 16]
        assert np.array_equal(regions.heat[0], change[y : y + 16, x : x + 16])


def test_score_is_the_error():
    scorer = FrameDifference()
    (found,) = scorer.measure(grey_video(), range(3, 4))
    assert scorer.frame_score(found) == found.errors[0, 0]
    assert np.isnan(scorer.frame_score(None))


def test_changes_of_brightness_count_in_grey_levels():
    frames = [np.full((40, 40, 3), level, np.uint8) for level in (200, 190, 193)]
    errors = [one.errors[0, 0] for one in FrameDifference().measure(frames, range(1, 3))]
    assert errors == [10, 3]


def test_frames_smaller_than_a_block_are_one_block():
    frames = grey_video(height=9, width=20, count=2)
    (found,) = FrameDifference().measure(frames, range(1, 2))
    assert found.boxes[0, 3] == 9
    assert found.heat.shape == (1, 16, 16)


def test_segments_give_what_the_whole_video_gives():
    frames, scorer = grey_video(count=11), FrameDifference()
    whole = scorer.measure(frames, range(11))
    video = [(number / 25, frame) for number, frame in enumerate(frames)]
    parts = [
        one
        for part in segments(video, 3, scorer.before, scorer.after, scorer.max_side)
        for one in scorer.measure(part.frames, part.targets)
    ]
    assert parts[0] is None
    assert [one.errors.item() for one in parts[1:]] == [one.errors.item() for one in whole[1:]]


@pytest.mark.shared
def test_published_floor(shared):
    """The floor in the set's README is of blocks that lie a little differently."""
    clips = find_clips(shared / "data/avenue_mini")
    found = FrameDifference(smooth_seconds=0.36).val_step({"clip": clips})
    scores = [one.scores for one in found]
    labels = [clip.labels(one.times) for clip, one in zip(clips, found, strict=True)]
    assert [clip.name for clip in clips] == ["08", "17", "20"]
    assert frame_scores(scores[1:2], labels[1:2]).micro == pytest.approx(0.958, abs=0.005)
    assert frame_scores(scores[2:], labels[2:]).micro == pytest.approx(0.604, abs=0.01)
    assert frame_scores(scores, labels).micro == pytest.approx(0.583, abs=0.02)
    assert frame_scores(scores, labels, per_clip=True).micro == pytest.approx(0.764, abs=0.02)
