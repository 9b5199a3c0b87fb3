"""denoise, separate and cancel-echo from the command line."""

import io
import os
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from toolkit.audio.files import read_sound
from toolkit.cli import run


def noise(channels: int, length: int, level: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((channels, length)) * level).astype(np.float32)


def sound(path: Path, wav: np.ndarray, rate: int = 16000, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wav.T, rate, subtype)
    return path


def voices(length: int, rate: int = 16000) -> np.ndarray:
    """A low and a high tone that come and go: (2, T)."""
    time = np.arange(length) / rate
    low = 0.2 * np.sin(2 * np.pi * 300 * time) * (1 + np.sin(2 * np.pi * 1.3 * time))
    high = 0.1 * np.sin(2 * np.pi * 2000 * time) * (1 + np.sin(2 * np.pi * 0.7 * time))
    return np.stack((low, high)).astype(np.float32)


@pytest.fixture
def denoise(networks: dict[str, Path]):
    def command(*args: object) -> int:
        return run("denoise", [*map(str, args), "--checkpoint", str(networks["TestGain"]), "--device", "cpu"])

    return command


@pytest.mark.parametrize(
    ("name", "channels", "rate", "subtype"),
    [("a.wav", 1, 8000, "PCM_16"), ("a.wav", 6, 96000, "PCM_24"), ("a.flac", 2, 44100, "PCM_24"),
     ("a.ogg", 2, 48000, "VORBIS"), ("a.mp3", 1, 44100, "MPEG_LAYER_III"), ("a.wav", 1, 11025, "FLOAT"),
     ("a.wav", 2, 22050, "PCM_U8")],
)  # fmt: skip
def test_rate_channels_length_and_coding_stay(
    name: str, channels: int, rate: int, subtype: str, denoise, tmp_path: Path
):
    wav = voices(20011, rate)[:channels] if name in ("a.ogg", "a.mp3") else noise(channels, 20011)  # codecs alter noise
    sound(tmp_path / name, wav, rate, subtype)
    assert denoise(tmp_path / name, "-o", tmp_path / "out" / name) == 0
    before, after = soundfile.info(tmp_path / name), soundfile.info(tmp_path / "out" / name)
    for attribute in ("samplerate", "channels", "frames", "subtype", "format"):
        assert getattr(before, attribute) == getattr(after, attribute)
    old, new = read_sound(tmp_path / name)[0], read_sound(tmp_path / "out" / name)[0]
    assert (old * new).mean() / np.square(old).mean() == pytest.approx(0.5, abs=0.03)


def test_a_folder_is_mirrored_and_goes_on_past_broken_files(denoise, tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = tmp_path / "in"
    for name in ("1.wav", "a/1.flac", "a/b/2.ogg"):
        sound(folder / name, noise(1, 3000))
    (folder / "empty.wav").touch()
    (folder / "a" / "call.m4a").write_bytes(b"something")
    (folder / "notes.txt").write_text("no sound")
    assert denoise(folder, "-o", tmp_path / "out") == 1
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert written == ["1.wav", "a/1.flac", "a/b/2.ogg"]
    said = capsys.readouterr()
    assert "2 of 5 files could not be done" in said.err
    assert "empty.wav is empty" in said.err
    assert "ffmpeg -i call.m4a" in said.err
    assert said.out.count("real-time factor") == 3


def test_nothing_is_overwritten_unasked(denoise, tmp_path: Path, capsys: pytest.CaptureFixture):
    source = sound(tmp_path / "a.wav", noise(1, 3000))
    content = source.read_bytes()
    (tmp_path / "out.wav").write_bytes(b"precious")
    assert denoise(source, "-o", tmp_path / "out.wav") == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "out.wav").read_bytes() == b"precious"
    assert denoise(source, "-o", source, "--force") == 2
    assert source.read_bytes() == content
    assert denoise(source, "-o", tmp_path / "out.wav", "--force") == 0
    assert soundfile.info(tmp_path / "out.wav").frames == 3000


@pytest.mark.parametrize(
    ("args", "message"),
    [(["none.wav", "-o", "out.wav"], "none.wav does not exist"), (["a.wav", "-o", "out.xyz"], "cannot write .xyz"),
     (["a.wav", "-o", "out.wav", "--mix", "2"], "--mix"), (["zero.wav", "-o", "out.wav"], "zero.wav is empty"),
     (["a.wav", "-o", "out.wav", "--metrics", "none.wav"], "none.wav does not exist"),
     (["a.wav", "b.wav", "-o", "a.wav"], "a.wav is a file"), (["text.wav", "-o", "out.wav"], "ffmpeg"),
     (["-", "a.wav", "-o", "-"], "one input")],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(
    args: list[str], message: str, denoise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav"):
        sound(Path(name), noise(1, 3000))
    Path("zero.wav").touch()
    Path("text.wav").write_text("no sound at all")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert denoise(*args) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert said.count("\n") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("kind", ["silence", "clipping", "nan", "dc", "one", "five"])
def test_odd_recordings_give_a_result(kind: str, denoise, tmp_path: Path, capsys: pytest.CaptureFixture):
    wav = noise(1, 4000)
    wav = {
        "silence": wav * 0, "clipping": np.sign(wav), "nan": np.where(wav > 0.2, np.nan, wav), "dc": wav * 0 + 0.5,
        "one": wav[:, :1], "five": wav[:, :5],
    }[kind]  # fmt: skip
    sound(tmp_path / "a.wav", wav, 44100, "FLOAT")
    assert denoise(tmp_path / "a.wav", "-o", tmp_path / "out.wav") == 0
    out = read_sound(tmp_path / "out.wav")[0]
    assert out.shape == wav.shape
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out, 0.5 * np.nan_to_num(wav), atol=0.1)
    assert ("no numbers" in capsys.readouterr().err) == (kind == "nan")


def test_pictures_and_measures(denoise, tmp_path: Path, capsys: pytest.CaptureFixture):
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    clean = voices(48000).sum(0, keepdims=True)
    sound(tmp_path / "clean.wav", clean)
    source = sound(tmp_path / "a.wav", clean + noise(1, 48000, 0.05))
    assert denoise("--metrics", tmp_path / "clean.wav", "--plot", source, "-o", tmp_path / "out.wav") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("SI-SDR"))
    before, after, change = (float(word) for word in line.split()[2:])
    assert before == pytest.approx(after, abs=0.1)  # half as loud is no difference to it
    assert before == pytest.approx(10 * np.log10(np.square(clean).mean() / 0.05**2), abs=0.5)
    assert change == pytest.approx(after - before, abs=0.011)
    picture = np.asarray(Image.open(tmp_path / "out.png").convert("L"))
    assert picture.std() > 10


def test_measures_without_their_packages_name_the_extra(
    denoise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setitem(sys.modules, "pesq", None)
    source = sound(tmp_path / "a.wav", noise(1, 3000))
    assert denoise(source, "-o", tmp_path / "out.wav", "--metrics", source) == 2
    assert "toolkit[audio]" in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()


class Pipe:
    """Standard input or output with a buffer, as Python has them."""

    def __init__(self, content: bytes = b""):
        self.buffer = io.BufferedRandom(io.BytesIO(content))


@pytest.mark.parametrize("rate", [16000, 44100])
def test_pipes_carry_raw_samples(rate: int, denoise, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    samples = (noise(2, 20000).T * 32767).astype("<i2")
    monkeypatch.setattr(sys, "stdin", Pipe(samples.tobytes() + b"\1"))
    out = Pipe()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        assert denoise("-", "-o", "-", "--rate", rate, "--channels", 2) == 0
    out.buffer.seek(0)
    got = np.frombuffer(out.buffer.read(), "<i2").reshape(-1, 2)
    np.testing.assert_allclose(got, samples * 0.5, atol=3)
    assert "real-time factor" in capsys.readouterr().err


def test_a_pipe_into_a_file_and_back(denoise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    samples = noise(1, 5000).T.astype("<f4")
    monkeypatch.setattr(sys, "stdin", Pipe(samples.tobytes()))
    assert denoise("-", "-o", tmp_path / "a.wav", "--rate", 8000, "--format", "f32le") == 0
    assert soundfile.info(tmp_path / "a.wav").subtype == "FLOAT"
    np.testing.assert_allclose(read_sound(tmp_path / "a.wav")[0][0], 0.5 * samples[:, 0], atol=1e-4)


def test_speakers_get_a_file_each(networks: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture):
    speakers = voices(16000 * 7)
    source = sound(tmp_path / "talk.wav", speakers.sum(0, keepdims=True))
    args = [source, "-o", tmp_path / "parted.wav", "--checkpoint", networks["TestSplit"], "--device", "cpu"]
    assert run("separate", [*map(str, args)]) == 0
    parted = np.concatenate([read_sound(tmp_path / f"parted_speaker{number}.wav")[0] for number in (1, 2)])
    np.testing.assert_allclose(parted[:, 400:-400], speakers[:, 400:-400], atol=0.03)
    assert run("separate", [str(source), "-o", str(tmp_path / "x.wav")]) == 2
    assert "--checkpoint" in capsys.readouterr().err


def test_a_network_for_something_else_is_refused(networks: dict[str, Path], tmp_path: Path, capsys):
    source = sound(tmp_path / "a.wav", noise(1, 3000))
    for command, kind in (("denoise", "TestSplit"), ("separate", "TestGain"), ("denoise", "TestSubtract")):
        args = [str(source), "-o", str(tmp_path / "out.wav"), "--checkpoint", str(networks[kind])]
        assert run(command, args) == 2
        assert "does not fit this command" in capsys.readouterr().err


def test_echo_goes_from_files_folders_and_pipes(networks: dict[str, Path], tmp_path: Path, monkeypatch):
    far, near = noise(1, 64000), voices(64000)[:1]
    microphone = near + np.concatenate((np.zeros((1, 160), np.float32), far[:, :-160]), 1)
    sound(tmp_path / "mic" / "a.wav", microphone, subtype="FLOAT")
    sound(tmp_path / "ref" / "a.wav", far, subtype="FLOAT")
    options = ["--checkpoint", str(networks["TestSubtract"]), "--device", "cpu"]
    files = [str(tmp_path / "mic" / "a.wav"), str(tmp_path / "ref" / "a.wav"), "-o", str(tmp_path / "a.wav")]
    assert run("cancel-echo", [*files, *options]) == 0
    folders = [str(tmp_path / "mic"), str(tmp_path / "ref"), "-o", str(tmp_path / "out")]
    assert run("cancel-echo", [*folders, *options]) == 0
    monkeypatch.setattr(sys, "stdin", Pipe(np.concatenate((microphone, far)).T.astype("<f4").tobytes()))
    assert run("cancel-echo", ["-", "-o", str(tmp_path / "p.wav"), "--format", "f32le", *options]) == 0
    for path in (tmp_path / "a.wav", tmp_path / "out" / "a.wav", tmp_path / "p.wav"):
        np.testing.assert_allclose(read_sound(path)[0], near, atol=1e-3)


def test_a_missing_reference_is_named(networks: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture):
    sound(tmp_path / "mic" / "a.wav", noise(1, 3000))
    sound(tmp_path / "mic" / "b.wav", noise(1, 3000))
    sound(tmp_path / "ref" / "a.wav", noise(1, 3000))
    options = ["-o", str(tmp_path / "out"), "--checkpoint", str(networks["TestSubtract"]), "--device", "cpu"]
    assert run("cancel-echo", [str(tmp_path / "mic"), str(tmp_path / "ref"), *options]) == 1
    assert os.path.join("ref", "b.wav does not exist") in capsys.readouterr().err
    assert (tmp_path / "out" / "a.wav").is_file()


@pytest.mark.parametrize("name", ["denoise", "cancel-echo"])
def test_shipped_weights_that_are_gone_are_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    module = import_module(f"toolkit.commands.{name.replace('-', '_')}")
    assert module.SHIPPED.is_file()
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "gone.pth")
    source = str(sound(tmp_path / "a.wav", noise(1, 3000)))
    inputs = [source] if name == "denoise" else [source, source]
    assert run(name, [*inputs, "-o", str(tmp_path / "out.wav")]) == 2
    assert f"the shipped weights are not at {tmp_path / 'gone.pth'}; give --checkpoint FILE" in capsys.readouterr().err
