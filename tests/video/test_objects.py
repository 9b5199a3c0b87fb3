"""Objects over several frames, segments of long videos, and what is kept of them on disk."""

import cv2
import numpy as np
import pytest

from toolkit.video.cache import SegmentCache
from toolkit.video.foreground import cut_patches
from toolkit.video.objects import ObjectExtractor, paste_heat
from toolkit.video.scorer import segments, shrink

RULES = dict(min_score=0.25, min_box_area=1600.0, max_cover=0.6, blur=5, min_difference=18, min_motion_area=1600.0)


def moving(count=20, width=160, height=96, speed=3):
    """A textured square that goes to the right over a grey ground."""
    square = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 6, 3)).astype(np.uint8), (24, 24))
    frames = np.full((count, height, width, 3), 100, np.uint8)
    for number, frame in enumerate(frames):
        x = 10 + speed * number
        frame[30:54, x : x + 24] = square
    return list(frames)


def as_video(frames):
    return [(number / 25, frame) for number, frame in enumerate(frames)]


def test_an_object_is_found_where_it_moves_and_followed_by_its_box():
    frames = moving()
    (found,) = ObjectExtractor(RULES).extract(frames, range(9, 10))
    (box,) = found.boxes
    x = 10 + 3 * 9
    assert box[0] <= x - 3 + 2
    assert box[2] >= x + 24 + 3 - 2
    assert np.array_equal(found.patches, cut_patches(frames[6:13], found.boxes))
    assert found.flow.dtype == np.float16
    inside = found.flow[0, 3, 0][10:22, 12:20].astype(float)
    assert np.median(inside) == pytest.approx(3, abs=0.4)  # pixels of the frame, not of the patch
    assert np.abs(np.median(found.flow[0, 3, 1])) < 0.3


def test_areas_follow_the_size_of_the_frames():
    frames = moving()  # about 30x28 pixels: 840, of 15,360 in the frame
    large = dict(RULES, min_motion_area=14000.0)  # 933 at this size
    assert len(ObjectExtractor(large).extract(frames, range(9, 10))[0].boxes) == 0
    assert len(ObjectExtractor(dict(RULES, min_motion_area=500.0), False).extract(frames, range(9, 10))[0].boxes) == 1
    assert len(ObjectExtractor(RULES, False).extract(frames, range(9, 10))[0].boxes) == 0


def test_a_detector_adds_its_boxes(monkeypatch):
    frames = moving()
    detections = np.array([[100, 10, 140, 60, 0.9], [100, 10, 140, 60, 0.1]], np.float32)
    calls = []

    class Found:
        boxes, scores = detections[:, :4], detections[:, 4]

    class Detector:
        def predict(self, frame):
            calls.append(frame)
            return Found

    monkeypatch.setattr("toolkit.inference.load_model", lambda *_: Detector())
    extractor = ObjectExtractor(dict(RULES, min_box_area=100.0), detector=dict(config="any", checkpoint="any.pth"))
    (found,) = extractor.extract(frames[:18], range(16, 17))
    assert found.boxes[0].tolist() == [100, 10, 140, 60]
    extractor.extract(frames[:18], range(15, 17))
    assert len(calls) == 2, "a frame that comes again is not looked at again"


def test_segments_give_what_the_whole_video_gives():
    frames = moving(31)
    extractor = ObjectExtractor(RULES)
    whole = extractor.extract(frames, range(31))
    for length in (6, 7, 13, 64):
        parts = [
            one
            for segment in segments(as_video(frames), length, 6, 4, 640)
            for one in ObjectExtractor(RULES).extract(segment.frames, segment.targets)
        ]
        assert len(parts) == 31
        for one, other in zip(whole, parts, strict=True):
            for name in ("boxes", "patches", "flow"):
                assert np.array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("count", [0, 1, 5, 6, 17, 18, 24])
def test_every_frame_is_in_one_segment_with_its_neighbours(count):
    video = as_video([np.full((4, 4, 3), number, np.uint8) for number in range(count)])
    seen = []
    for number, segment in enumerate(segments(video, 6, 3, 2, 640)):
        assert segment.number == number
        values = [int(frame[0, 0, 0]) for frame in segment.frames]
        wanted = [values[index] for index in segment.targets]
        assert np.allclose(segment.times, np.array(wanted) / 25)
        assert values[0] <= max(0, wanted[0] - 3)
        assert values[-1] >= min(count - 1, wanted[-1] + 2)
        assert len(values) <= 3 + 2 * 6 + 2  # memory does not grow
        seen += wanted
    assert seen == list(range(count))


def test_large_frames_are_made_smaller_and_told_by_how_much():
    (segment,) = segments(as_video([np.zeros((400, 1000, 3), np.uint8)] * 3), 8, 1, 1, 500)
    assert segment.frames[0].shape == (200, 500, 3)
    assert segment.scale == 2
    assert shrink(np.zeros((400, 300, 3), np.uint8), 500).shape == (400, 300, 3)


def test_short_videos_have_objects_too():
    for count in (1, 2, 3, 7):
        found = ObjectExtractor(RULES).extract(moving(count), range(count))
        assert [one.patches.shape[1] for one in found] == [7] * count


def test_heat_is_pasted_into_its_box_alone():
    picture = np.zeros((20, 30), np.float32)
    paste_heat(np.full((16, 16), 2.0, np.float32), np.array([5, 4, 15, 12.0]), picture)
    assert picture.sum() == pytest.approx(2 * 10 * 8)
    paste_heat(np.full((16, 16), 1.0, np.float32), np.array([0, 0, 30, 20.0]), picture)
    assert picture[6, 6] == 2
    assert picture[0, 0] == 1


def test_the_cache_knows_a_video_by_its_content_and_settings(tmp_path):
    video, copy, other = (tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4"))
    video.write_bytes(b"x" * 5000)
    copy.write_bytes(b"x" * 5000)
    other.write_bytes(b"x" * 4999 + b"y")
    folders = [
        SegmentCache(tmp_path, path, settings).folder.name.split("-")[-1]
        for path, settings in ((video, {"a": 1}), (copy, {"a": 1}), (other, {"a": 1}), (video, {"a": 2}))
    ]
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3


def test_half_a_segment_on_disk_counts_as_none(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"x")
    cache = SegmentCache(tmp_path / "cache", tmp_path / "v.mp4", {})
    assert cache.get(0, ["one"]) is None
    cache.put(0, {"one": np.arange(5)})
    assert cache.get(0, ["one"])["one"].tolist() == [0, 1, 2, 3, 4]
    assert cache.get(0, ["one", "two"]) is None
    file = next(cache.folder.glob("*.npy"))
    file.write_bytes(file.read_bytes()[:-3])
    assert cache.get(0, ["one"]) is None
    assert cache.length is None
    cache.end(1)
    assert cache.length == 1
