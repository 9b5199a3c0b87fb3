"""Annotated videos as MP4, frames at their own times, with the sound of the video that they come from.

PyAV (https://pyav.basswood-io.com, `pip install 'toolkit[video]'`) writes H.264, or MPEG-4 part 2 where it was built
without x264, and copies the sound as it is where MP4 can hold it, else as AAC. Without PyAV, OpenCV writes MPEG-4
part 2 at a constant rate and without sound.
"""

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.data.video import VideoWriter
from toolkit.errors import UserError

if TYPE_CHECKING:
    import av

CLOCK = 90000  # ticks per second of the pictures' times
NEED = "to keep the sound and the times of the frames: pip install 'toolkit[video]'"
COPIED = ("aac", "mp3", "ac3", "eac3", "alac", "opus")  # sound that players take in an MP4
CLEAR = {"crf": "18", "preset": "veryfast"}


def has_sound_writer() -> bool:
    """Whether PyAV is installed; `NEED` says what to do where it is not."""
    return find_spec("av") is not None


def open_writer(path: str | Path, fps: float, sound_of: str | Path | None = None) -> "SoundVideoWriter | _PlainWriter":
    """A writer of MP4 with `add(frame, seconds)`, to be used in a `with` block.

    After an error in the block nothing is left; after Ctrl-C what was written so far stays. With no frames there is no
    file.

    Args:
        path: file to write, .mp4.
        fps: frames per second, for sources without times.
        sound_of: video whose sound is to go along, as far as there are frames; anything without sound is silent.

    Raises:
        UserError: another ending than .mp4.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() != ".mp4":
        raise UserError(f"{path}: videos are written as .mp4")
    if not has_sound_writer():
        return _PlainWriter(path, fps)
    return SoundVideoWriter(path, fps, sound_of)


class _PlainWriter(VideoWriter):
    """OpenCV's writer, to which times say nothing."""

    def add(self, frame: np.ndarray, seconds: float | None = None) -> None:
        super().add(frame)


class SoundVideoWriter:
    """See `open_writer`; needs PyAV.

    Attributes:
        frames: how many were written.
        sound: whether a sound track goes along; known from the first frame on.

    Raises:
        UserError: on the disk's refusal.
    """

    def __init__(self, path: Path, fps: float, sound_of: str | Path | None = None):
        self.path, self.fps, self.frames = path, fps, 0
        self._part = path.with_name(f".{path.stem}.part.mp4")
        self._sound_of, self._sound = sound_of, None
        self._output: Any = None
        self._last = -1

    @property
    def sound(self) -> bool:
        return self._sound is not None

    def add(self, frame: np.ndarray, seconds: float | None = None) -> None:
        """Append `frame` (H, W, 3) uint8 BGR, shown from `seconds` on, by default one frame after the last."""
        import av

        try:
            if self._output is None:
                self._open(frame.shape[1], frame.shape[0])
            ticks = round((self.frames / self.fps if seconds is None else seconds) * CLOCK)
            self._last = max(ticks, self._last + 1)
            picture = av.VideoFrame.from_ndarray(_even(frame), format="bgr24")
            picture.pts, picture.time_base = self._last, Fraction(1, CLOCK)
            self._output.mux(self._stream.encode(picture))
            self.frames += 1
            if self._sound is not None:
                self._sound.write_until(self._last / CLOCK)
        except (av.FFmpegError, OSError) as error:
            raise self._unwritable(error) from error

    def _open(self, width: int, height: int) -> None:
        import av

        self.path.parent.mkdir(parents=True, exist_ok=True)
        # moving the index to the front would need the whole file again
        self._output = av.open(str(self._part), "w", format="mp4")
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._stream = self._output.add_stream(codec, rate=Fraction(self.fps).limit_denominator(1001))
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, CLOCK)
        if codec == "libx264":
            self._stream.options = CLEAR
        else:  # MPEG-4 part 2, whose clock has 16 bits
            self._stream.codec_context.time_base = Fraction(1, 60000)
            self._stream.bit_rate = 4 * width * height
        self._sound = _Sound.find(self._sound_of, self._output)

    def _unwritable(self, error: BaseException) -> UserError:
        reason = getattr(error, "strerror", None) or error
        return UserError(f"cannot write the video {self.path}: {reason}")

    def __enter__(self) -> "SoundVideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._output is None:
            return
        import av

        whole = kind is None or issubclass(kind, KeyboardInterrupt)
        try:
            if whole:
                self._finish()
                self._part.replace(self.path)
        except (av.FFmpegError, OSError) as error:
            raise self._unwritable(error) from error
        finally:
            with suppress(av.FFmpegError, OSError):
                self._output.close()
            if self._sound is not None:
                self._sound.close()
            self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._sound is not None:
            self._sound.write_until(self._last / CLOCK + 1 / self.fps)
            self._sound.finish()
        self._output.mux(self._stream.encode(None))
        self._output.close()


def _even(frame: np.ndarray) -> np.ndarray:
    """`frame` with its last row and column repeated where their number is odd, as H.264 needs it."""
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


class _Sound:
    """The sound track of a video, brought over piece by piece."""

    def __init__(self, container: "av.container.InputContainer", output: "av.container.OutputContainer"):
        self._container, self._output = container, output
        source = container.streams.audio[0]
        self._start = _first_picture(container)
        self._copies = source.codec_context.name in COPIED
        if self._copies:
            self._stream = output.add_stream_from_template(source)
        else:
            self._stream = output.add_stream("aac", rate=source.codec_context.sample_rate)
        self._packets = self._sound_packets(source)
        self._next = next(self._packets, None)

    @classmethod
    def find(cls, source: str | Path | None, output: "av.container.OutputContainer") -> "_Sound | None":
        """The sound of `source`; None where there is none that can be read."""
        import av

        if source is None or not Path(source).expanduser().is_file():
            return None
        try:
            container = av.open(str(Path(source).expanduser()))
        except av.FFmpegError:
            return None
        if not container.streams.audio:
            container.close()
            return None
        return cls(container, output)

    def _sound_packets(self, source: "av.AudioStream") -> Iterator[tuple[float, "av.Packet | av.AudioFrame"]]:
        """(seconds, packet to copy or frame to encode), as far as the track can be read."""
        import av

        try:
            for packet in self._container.demux(source):
                if self._copies:
                    if packet.dts is not None:
                        yield float(packet.dts * packet.time_base) - self._start, packet
                    continue
                for frame in packet.decode():
                    yield (frame.time or 0.0) - self._start, frame
        except av.FFmpegError:  # a damaged tail
            return

    def write_until(self, seconds: float) -> None:
        """Bring over what sounds before `seconds`."""
        while self._next is not None and self._next[0] < seconds:
            at, piece = self._next
            if at >= 0:
                self._write(piece)
            self._next = next(self._packets, None)

    def _write(self, piece: "av.Packet | av.AudioFrame") -> None:
        shift = round(self._start / piece.time_base)
        piece.pts -= shift
        if self._copies:
            piece.dts -= shift
            piece.stream = self._stream
            self._output.mux(piece)
        else:
            self._output.mux(self._stream.encode(piece))

    def finish(self) -> None:
        if not self._copies:
            self._output.mux(self._stream.encode(None))

    def close(self) -> None:
        self._container.close()


def _first_picture(container: "av.container.InputContainer") -> float:
    """When the first picture is shown, in seconds of the file's clock."""
    for stream in container.streams.video:
        if stream.start_time is not None:
            return float(stream.start_time * stream.time_base)
    return 0.0
