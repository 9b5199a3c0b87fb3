import math
import time

import cv2
import numpy as np
import pytest

from toolkit.errors import UserError
from toolkit.video import frames as module
from toolkit.video.frames import VideoSource, find_pictures, open_video


def grey(value, size=(64, 48)):
    return np.full((size[1], size[0], 3), value, np.uint8)


def write_avi(path, values, rate=10.0, size=(64, 48)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, size)
    for value in values:
        writer.write(grey(value, size))
    writer.release()
    return path


def test_a_file_gives_every_frame_in_order_with_its_time(tmp_path):
    values = list(range(10, 210, 10))
    with open_video(write_avi(tmp_path / "clip.avi", values)) as source:
        assert (source.fps, source.size, source.count, source.live) == (10.0, (64, 48), 20, False)
        read = list(source)
    assert np.allclose([seconds for seconds, _ in read], np.arange(20) / 10)
    assert np.allclose([frame.mean() for _, frame in read], values, atol=1.5)
    assert source.problems == []


def test_times_of_a_variable_rate_are_the_files_own(tmp_path):
    from toolkit.video.writer import open_writer

    pytest.importorskip("av")
    times = [0.0, 0.1, 0.2, 1.0, 1.05, 3.0]
    with open_writer(tmp_path / "clip.mp4", 10.0) as writer:
        for number, seconds in enumerate(times):
            writer.add(grey(30 * number), seconds)
    with open_video(tmp_path / "clip.mp4") as source:
        assert np.allclose([seconds for seconds, _ in source], times, atol=0.002)
    assert source.problems == [], "fewer frames than length times rate is no damage"


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    for number in (1, 2, 10, 9):
        cv2.imwrite(str(tmp_path / f"f{number}.png"), grey(number))
    (tmp_path / "._f3.png").write_bytes(b"resource fork")
    with open_video(tmp_path, fps=2) as source:
        assert source.count == 4
        read = [(seconds, int(frame[0, 0, 0])) for seconds, frame in source]
    assert read == [(0.0, 1), (0.5, 2), (1.0, 9), (1.5, 10)]
    assert [path.name for path in find_pictures(tmp_path)] == ["f1.png", "f2.png", "f9.png", "f10.png"]


def test_pictures_that_cannot_be_read_keep_the_numbering(tmp_path):
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), grey(number))
    (tmp_path / "0.png").write_bytes(b"no picture")
    (tmp_path / "3.png").write_bytes(b"")
    with open_video(tmp_path, fps=1) as source:
        assert [(seconds, int(frame[0, 0, 0])) for seconds, frame in source] == [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4)]
    assert len(source.problems) == 1
    assert "0.png" in source.problems[0]
    assert "1 more" in source.problems[0]


def test_frames_of_another_size_are_brought_to_that_of_the_first(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), grey(5))
    cv2.imwrite(str(tmp_path / "1.png"), grey(99, (200, 100)))
    with open_video(tmp_path) as source:
        shapes = [frame.shape for _, frame in source]
    assert shapes == [(48, 64, 3)] * 2
    assert "size" in source.problems[0]


def test_a_video_whose_end_is_lost_gives_what_is_there_and_says_so(tmp_path):
    path = write_avi(tmp_path / "clip.avi", range(0, 200, 2))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_video(path) as source:
        count = len(list(source))
    assert 20 < count < 80
    assert f"end at {count / 10:.1f} of 10.0 s" in source.problems[0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.mp4", None, "does not exist"),
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"these are words, not pictures", "not one frame"),
        ("photo.jpg", b"x", "one picture"),
    ],
)
def test_what_is_no_video_is_one_line_that_names_it(tmp_path, name, content, said):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        open_video(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_video_without_frames_and_a_folder_without_pictures(tmp_path):
    with pytest.raises(UserError, match="no pictures"):
        open_video(tmp_path)
    write_avi(tmp_path / "clip.avi", [])
    with pytest.raises(UserError, match=r"clip\.avi"):
        open_video(tmp_path / "clip.avi")
    with pytest.raises(UserError, match="the videos themselves"):
        open_video(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="no picture that can be read"):
        open_video(tmp_path)


class Camera:
    """A camera that gives a frame every 5 ms."""

    def __init__(self, frames, rate=10.0):
        self.left, self.rate, self.released = frames, rate, False

    def get(self, prop):
        return self.rate if prop == cv2.CAP_PROP_FPS else 0.0

    def read(self):
        if self.left == 0:
            return False, None
        time.sleep(0.005)
        self.left -= 1
        return True, grey(self.left)

    def release(self):
        self.released = True


def test_a_live_source_drops_what_a_slow_reader_cannot_take():
    camera = Camera(60)
    with VideoSource("0", module._Live(camera, "nothing")) as source:
        read = []
        for seconds, frame in source:
            read.append((seconds, int(frame[0, 0, 0])))
            if len(read) == 1:
                time.sleep(0.6)  # all 60 come meanwhile
    assert (source.live, source.count) == (True, None)
    assert [value for _, value in read[1:]] == list(range(9, -1, -1)), "the newest second of frames, in order"
    assert source.dropped == 60 - len(read)
    assert "dropped" in source.problems[0]
    times = [seconds for seconds, _ in read]
    assert times == sorted(times)
    assert camera.released


def test_a_live_source_without_pictures_is_an_error():
    with pytest.raises(UserError, match="no webcam"):
        VideoSource("7", module._Live(Camera(0), "there is no webcam 7"))


def test_a_claimed_rate_that_cannot_be_is_not_taken():
    assert module._rate(Camera(0, rate=90000.0)) == (25.0, False)
    assert module._rate(Camera(0, rate=math.nan)) == (25.0, False)
    assert module._rate(Camera(0, rate=29.97)) == (29.97, True)
