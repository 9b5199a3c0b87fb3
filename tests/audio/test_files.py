from pathlib import Path

import numpy as np
import pytest
import soundfile

from toolkit.audio.files import SoundReader, SoundWriter, coding_for, read_sound, write_sound
from toolkit.errors import UserError


@pytest.fixture
def wav() -> np.ndarray:
    return (np.random.default_rng(0).uniform(-1, 1, (2, 5000)) * 0.9).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "subtype", "error"),
    [("a.wav", "PCM_16", 2**-15), ("a.wav", "PCM_24", 2**-23), ("a.wav", "FLOAT", 0), ("a.wav", "PCM_U8", 2**-7),
     ("a.flac", "PCM_24", 2**-23), ("a.aiff", "PCM_16", 2**-15), ("a.w64", "PCM_16", 2**-15)],
)  # fmt: skip
def test_reading_and_writing_again_changes_nothing(
    name: str, subtype: str, error: float, wav: np.ndarray, tmp_path: Path
):
    soundfile.write(tmp_path / name, wav.T, 44100, subtype)
    with SoundReader(tmp_path / name) as reader:
        first = reader.read(reader.frames)
        write_sound(tmp_path / ("again_" + name), first, 44100, like=reader)
    np.testing.assert_allclose(first, wav, atol=error + 1e-9)
    second, rate = read_sound(tmp_path / ("again_" + name))
    np.testing.assert_array_equal(second, first)
    assert (rate, soundfile.info(tmp_path / ("again_" + name)).subtype) == (44100, subtype)


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3"])
def test_lossy_files_keep_their_length_and_phase(name: str, tmp_path: Path):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(50001) / 16000).astype(np.float32)
    write_sound(tmp_path / name, tone, 16000)
    again, _ = read_sound(tmp_path / name)
    assert again.shape == (1, 50001)
    np.testing.assert_allclose(again[0, 1000:-1000], tone[1000:-1000], atol=0.02)


def test_blocks_join_to_the_file(wav: np.ndarray, tmp_path: Path):
    write_sound(tmp_path / "a.flac", wav, 8000)
    with SoundReader(tmp_path / "a.flac") as reader:
        blocks = list(reader.blocks(777))
    assert [block.shape[1] for block in blocks] == [777] * 6 + [338]
    np.testing.assert_array_equal(np.concatenate(blocks, 1), read_sound(tmp_path / "a.flac")[0])


def test_samples_that_are_no_numbers_are_read_as_silence(tmp_path: Path):
    samples = np.full(100, 0.5, np.float32)
    samples[[3, 50]] = np.nan, np.inf
    soundfile.write(tmp_path / "a.wav", samples, 8000, "FLOAT")
    with SoundReader(tmp_path / "a.wav") as reader:
        block = reader.read(100)[0]
        assert reader.not_finite == 2
    assert block.sum() == 49
    assert block[3] == block[50] == 0


@pytest.mark.parametrize("size", [0, 4, 20, 44])
def test_cut_headers_are_one_clear_line(size: int, wav: np.ndarray, tmp_path: Path):
    write_sound(tmp_path / "whole.wav", wav, 16000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:size])
    with pytest.raises(UserError, match=r"cut\.wav (is empty|holds no samples|is no sound file)"):
        SoundReader(tmp_path / "cut.wav")


def test_a_wav_that_was_cut_off_gives_what_it_has(wav: np.ndarray, tmp_path: Path):
    write_sound(tmp_path / "whole.wav", wav, 16000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[: 44 + 4 * 1000])
    np.testing.assert_array_equal(read_sound(tmp_path / "cut.wav")[0], read_sound(tmp_path / "whole.wav")[0][:, :1000])


def test_a_damaged_flac_says_where(tmp_path: Path):
    noise = np.random.default_rng(0).uniform(-1, 1, 100000)
    write_sound(tmp_path / "a.flac", noise, 16000)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"a\.flac is (damaged|cut short)"), SoundReader(tmp_path / "a.flac") as reader:
        list(reader.blocks(1000))


def test_what_cannot_be_read_names_a_converter(tmp_path: Path):
    (tmp_path / "song.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + b"x" * 1000)
    with pytest.raises(UserError, match=r"ffmpeg -i song\.m4a song\.wav"):
        SoundReader(tmp_path / "song.m4a")
    with pytest.raises(UserError, match="does not exist"):
        SoundReader(tmp_path / "none.wav")
    with pytest.raises(UserError, match="folder"):
        SoundReader(tmp_path)


def test_an_interrupted_file_leaves_the_old_one(wav: np.ndarray, tmp_path: Path):
    (tmp_path / "a.wav").write_bytes(b"old")

    def interrupted() -> None:
        with SoundWriter(tmp_path / "a.wav", 16000, 2) as writer:
            writer.write(wav)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_bytes() == b"old"


def test_codings_are_kept_or_the_nearest():
    assert coding_for("a.wav", 1, 1, ("FLAC", "PCM_24")) == ("WAV", "PCM_24")
    assert coding_for("a.flac", 1, 1, ("WAV", "FLOAT")) == ("FLAC", "PCM_24")
    assert coding_for("a.flac", 1, 1, ("WAV", "ULAW")) == ("FLAC", "PCM_16")
    assert coding_for("a.wav", 1, 1, ("OGG", "VORBIS")) == ("WAV", "PCM_16")
    assert coding_for("a.ogg", 1, 1, ("WAV", "PCM_24")) == ("OGG", "VORBIS")
    assert coding_for("a.wav", 1, 6, ("WAVEX", "PCM_24")) == ("WAVEX", "PCM_24")
    with pytest.raises(UserError, match=r"\.xyz"):
        coding_for("a.xyz", 1, 1)


def test_more_than_four_gigabytes_become_rf64():
    four_hours = 4 * 3600 * 96000
    assert coding_for("a.wav", four_hours, 1, ("WAV", "PCM_16")) == ("WAV", "PCM_16")
    assert coding_for("a.wav", four_hours, 6, ("WAV", "PCM_24")) == ("RF64", "PCM_24")
    with pytest.raises(UserError, match="4 GB"):
        coding_for("a.aiff", four_hours, 6, ("AIFF", "PCM_24"))


def test_too_many_channels_for_a_format_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="6 channels"):
        SoundWriter(tmp_path / "a.mp3", 16000, 6)
    assert list(tmp_path.iterdir()) == []
