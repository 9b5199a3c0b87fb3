import csv
import json
import math

import cv2
import numpy as np
import pytest

from toolkit.video.metrics import NO_OBJECT
from toolkit.video.timeline import (
    EventFinder,
    KeyFrames,
    Scored,
    clock,
    draw_timeline,
    find_events,
    smooth,
    write_csv,
    write_json,
)

TIMES = np.arange(100) / 10


def scores_at(*spans, length=100):
    scores = np.zeros(length)
    for first, last in spans:
        scores[first : last + 1] = 2.0
    return scores


def spans_of(events):
    return [(event.first_frame, event.last_frame) for event in events]


def scored(scores=None, threshold=1.0):
    scores = scores_at((20, 29), (60, 64)) if scores is None else scores
    events = find_events(TIMES[: len(scores)], scores, threshold, fps=10.0)
    return Scored("clip.mp4", 10.0, TIMES[: len(scores)], scores, smooth(scores, 3), threshold, events)


def test_smoothing_is_the_mean_of_the_window_without_what_is_missing():
    values = np.random.default_rng(0).normal(size=40)
    expected = [values[max(0, i - 2) : i + 3].mean() for i in range(40)]
    assert np.allclose(smooth(values, 5), expected)
    assert np.array_equal(smooth(values, 1), smooth(smooth(values, 1), 1))
    assert np.allclose(smooth(values, 1), values)
    holes = np.array([math.nan, math.nan, 1.0, 3.0, math.nan, 5.0])
    assert np.array_equal(smooth(holes, 3), [math.nan, math.nan, 2.0, 2.0, math.nan, 5.0], equal_nan=True)
    assert np.allclose(smooth(np.array([4.0, NO_OBJECT, 2.0]), 3), [3, 8 / 3, 2])


def test_events_have_the_times_frames_and_peak_of_their_stretch():
    scores = scores_at((20, 29))
    scores[25] = 7.0
    (event,) = find_events(TIMES, scores, 1.0, fps=10.0)
    assert (event.start, event.end) == (2.0, 3.0)
    assert (event.peak, event.peak_time) == (7.0, 2.5)
    assert (event.first_frame, event.last_frame) == (20, 29)


def test_small_gaps_join_and_short_events_vanish():
    scores = scores_at((10, 14), (18, 22), (40, 44), (50, 54), (70, 70), (90, 99))
    # gaps of 0.3 s and 0.5 s; one frame of 0.1 s; the last one goes on to the end
    assert spans_of(find_events(TIMES, scores, 1.0, 0.5, 0.2, 10.0)) == [(10, 22), (40, 44), (50, 54), (90, 99)]
    assert spans_of(find_events(TIMES, scores, 1.0, 0.51, 0.2, 10.0)) == [(10, 22), (40, 54), (90, 99)]
    assert spans_of(find_events(TIMES, scores, 1.0, 0.0, 0.0, 10.0)) == [
        (10, 14), (18, 22), (40, 44), (50, 54), (70, 70), (90, 99),
    ]  # fmt: skip
    assert spans_of(find_events(TIMES, scores, 1.0, 0.5, 0.6, 10.0)) == [(10, 22), (90, 99)]
    assert find_events(TIMES, scores, 3.0) == []


def test_two_short_stretches_count_together_where_their_gap_is_small():
    assert spans_of(find_events(TIMES, scores_at((10, 10), (13, 13)), 1.0, 0.5, 0.3, 10.0)) == [(10, 13)]


def test_frames_without_a_score_are_not_odd():
    scores = scores_at((10, 30))
    scores[15:25] = math.nan
    assert spans_of(find_events(TIMES, scores, 1.0, 0.5, 0.2, 10.0)) == [(10, 14), (25, 30)]
    assert find_events(TIMES, np.full(100, math.nan), 1.0) == []


def test_events_are_told_with_a_bounded_delay():
    finder, told = EventFinder(1.0, min_gap=0.5, min_length=0.3, fps=10.0), {}
    for seconds, score in zip(TIMES, scores_at((20, 79)), strict=True):
        for kind, event in finder.add(seconds, score):
            told[kind] = (round(seconds, 1), event.start)
    assert told == {"start": (2.2, 2.0), "end": (8.5, 2.0)}
    assert finder.close() == []


def test_each_start_has_its_end():
    rng = np.random.default_rng(1)
    for _ in range(30):
        finder, kinds = EventFinder(1.0, 0.3, 0.2, 10.0), []
        for seconds, score in zip(TIMES, 2.0 * (rng.random(100) < rng.random()), strict=True):
            kinds += [kind for kind, _ in finder.add(seconds, score)]
        kinds += [kind for kind, _ in finder.close()]
        assert kinds == ["start", "end"] * (len(kinds) // 2)


def test_tables_hold_what_was_scored(tmp_path):
    scores = scores_at((20, 29))
    scores[:3] = math.nan
    made = scored(scores)
    write_csv(made, tmp_path / "out" / "scores.csv")
    write_json(made, tmp_path / "out" / "scores.json", model="model.pth")
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert [row["score"] for row in rows[:4]] == ["", "", "", "0"]
    assert [float(row["seconds"]) for row in rows] == pytest.approx(TIMES)
    assert [int(row["event"]) for row in rows] == [int(20 <= i < 30) for i in range(100)]
    content = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert (content["unscored"], content["frames"], content["model"]) == (3, 100, "model.pth")
    assert content["scores"][:4] == [None, None, None, 0]
    assert [(event["start"], event["end"]) for event in content["events"]] == [(2.0, 3.0)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scores.csv", "scores.json"]


def test_key_frames_are_the_highest_that_lie_apart():
    keys = KeyFrames(count=2, apart=1.0)
    scores = {0: 1.0, 1: 5.0, 2: 4.0, 5: 3.0, 12: 2.0, 30: 0.5, 31: math.nan, 50: 6.0}
    for number in range(60):
        keys.add(number / 10, scores.get(number, 0.0), np.full((60, 100, 3), number, np.uint8))
    assert [(seconds, int(frame.mean())) for seconds, frame in keys.frames] == [(0.1, 1), (5.0, 50)]
    assert keys.frames[0][1].shape == (192, 320, 3)


def reddish(picture):
    """Columns of the upper half that are tinted by an event."""
    blue, _, red = (picture[: len(picture) // 2, :, i].astype(int) for i in range(3))
    return ((red - blue > 15) & (red > 200)).sum(0) > 40


def test_the_picture_shades_events_and_shows_key_frames(tmp_path):
    made = scored()
    lime = np.zeros((60, 80, 3), np.uint8)
    lime[:] = (0, 255, 100)
    draw_timeline(made, [(2.5, lime), (6.2, lime)], tmp_path / "t.png")
    draw_timeline(made, [], tmp_path / "bare.png")
    with_frames, bare = (cv2.imread(str(tmp_path / name)) for name in ("t.png", "bare.png"))
    assert with_frames.shape[0] > bare.shape[0]
    assert (np.abs(with_frames.astype(int) - (0, 255, 100)).sum(2) < 30).mean() > 0.05
    share = reddish(bare).mean()
    assert 0.1 < share < 0.16, "1.5 of 9.9 seconds are events, and the axes are nearly as wide as the picture"
    made.events = []
    draw_timeline(made, [], tmp_path / "none.png")
    assert reddish(cv2.imread(str(tmp_path / "none.png"))).mean() < 0.02


@pytest.mark.parametrize("value", [math.nan, 0.0, NO_OBJECT, 3.5])
@pytest.mark.parametrize("length", [1, 30])
def test_any_scores_can_be_drawn_and_written(tmp_path, value, length):
    made = scored(np.full(length, value))
    draw_timeline(made, [], tmp_path / "t.png")
    write_csv(made, tmp_path / "t.csv")
    write_json(made, tmp_path / "t.json")
    assert cv2.imread(str(tmp_path / "t.png")) is not None
    json.loads((tmp_path / "t.json").read_text(), parse_constant=pytest.fail)


def test_times_as_a_clock_shows_them():
    assert [clock(value) for value in (0, 7.25, 59.96, 187.5, 3723.5)] == [
        "0:00.0", "0:07.2", "1:00.0", "3:07.5", "1:02:03.5",
    ]  # fmt: skip
