from fractions import Fraction

import numpy as np
import pytest

from toolkit.errors import UserError
from toolkit.video import writer as module
from toolkit.video.frames import open_video
from toolkit.video.writer import open_writer

av = pytest.importorskip("av")
RATE = 16000


def video_with_tone(path, codec, seconds=2.0):
    """A video with a tone from its second second on; gives its path."""
    with av.open(str(path), "w") as output:
        pictures = output.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = output.add_stream(codec, rate=RATE, layout="mono")
        for number in range(int(seconds * 10)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 10, np.uint8), format="bgr24")
            frame.pts = number
            output.mux(pictures.encode(frame))
        output.mux(pictures.encode(None))
        samples = (8000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE)).astype(np.int16)
        samples[:RATE] = 0
        block = sound.codec_context.frame_size or 1024
        resampler = av.AudioResampler(format=sound.codec_context.format, layout="mono", rate=RATE)
        for start in range(0, len(samples), block):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + block], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            for one in resampler.resample(frame):
                output.mux(sound.encode(one))
        output.mux(sound.encode(None))
    return path


def sound_of(path):
    """(codec, samples) of the sound of `path`."""
    with av.open(str(path)) as container:
        codec = container.streams.audio[0].codec_context.name
        parts = [frame.to_ndarray().mean(0) for frame in container.decode(audio=0)]
    return codec, np.concatenate(parts)


@pytest.mark.parametrize(("name", "codec", "written"), [("in.mp4", "aac", "aac"), ("in.avi", "pcm_s16le", "aac")])
def test_the_sound_goes_along_in_time(tmp_path, name, codec, written):
    source = video_with_tone(tmp_path / name, codec)
    out = tmp_path / "made" / "out.mp4"
    with open_video(source) as video, open_writer(out, video.fps, source) as writer:
        for seconds, frame in video:
            writer.add(255 - frame, seconds)
        assert writer.sound
    kept, samples = sound_of(out)
    assert kept == written
    begin = np.argmax(np.abs(samples) > 0.3 * np.abs(samples).max()) / RATE
    assert abs(begin - 1.0) < 0.07, "the tone begins after a second, as in the source"
    assert abs(len(samples) / RATE - 2.0) < 0.15
    with open_video(out) as video:
        read = list(video)
    assert np.allclose([seconds for seconds, _ in read], np.arange(20) / 10, atol=0.002)
    assert np.allclose([frame.mean() for _, frame in read], 255 - np.arange(20) * 10, atol=4)
    assert list(out.parent.iterdir()) == [out]


def test_sound_ends_with_the_pictures(tmp_path):
    source = video_with_tone(tmp_path / "in.mp4", "aac")
    with open_writer(tmp_path / "out.mp4", 10.0, source) as writer:
        for number in range(5):
            writer.add(np.zeros((48, 64, 3), np.uint8), number / 10)
    assert len(sound_of(tmp_path / "out.mp4")[1]) / RATE < 0.7


def test_sources_without_sound_are_silent(tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "a.txt").write_text("words")
    for source in (None, tmp_path / "frames", tmp_path / "a.txt", "rtsp://camera"):
        with open_writer(tmp_path / "out.mp4", 10.0, source) as writer:
            writer.add(np.zeros((47, 63, 3), np.uint8), 0.0)
        with av.open(str(tmp_path / "out.mp4")) as container:
            assert len(container.streams.video) == 1
            assert (container.streams.video[0].width, container.streams.video[0].height) == (64, 48)


def test_an_error_leaves_nothing_and_ctrl_c_leaves_what_was_written(tmp_path):

    def write_three_and(kind):
        with open_writer(tmp_path / "out.mp4", 10.0) as writer:
            for _ in range(3):
                writer.add(np.zeros((48, 64, 3), np.uint8))
            raise kind

    for kind in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(kind):
            write_three_and(kind)
        assert (tmp_path / "out.mp4").exists() == (kind is KeyboardInterrupt)
    with open_video(tmp_path / "out.mp4") as video:
        assert len(list(video)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    with open_writer(tmp_path / "none.mp4", 10.0):
        pass
    assert not (tmp_path / "none.mp4").exists()


def test_places_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"out\.mp4"),
        open_writer(tmp_path / "file" / "out.mp4", 10.0) as writer,
    ):
        writer.add(np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(UserError, match=r"\.mp4"):
        open_writer(tmp_path / "out.avi", 10.0)


def test_without_pyav_pictures_are_written_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert not module.has_sound_writer()
    with open_writer(tmp_path / "out.mp4", 10.0, "in.mp4") as writer:
        for number in range(4):
            writer.add(np.full((48, 64, 3), 50 * number, np.uint8), number / 10)
    with open_video(tmp_path / "out.mp4") as video:
        assert np.allclose([frame.mean() for _, frame in video], [0, 50, 100, 150], atol=6)


def test_a_build_without_x264_keeps_the_times_too(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    times = [0.0, 0.1, 0.35, 1.2, 1.3]
    with open_writer(tmp_path / "out.mp4", 10.0) as writer:
        for number, seconds in enumerate(times):
            writer.add(np.full((48, 64, 3), 50 * number, np.uint8), seconds)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    with open_video(tmp_path / "out.mp4") as video:
        read = list(video)
    assert np.allclose([seconds for seconds, _ in read], times, atol=0.002)
    assert np.allclose([frame.mean() for _, frame in read], [0, 50, 100, 150, 200], atol=6)
