from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from toolkit import load_model
from toolkit.audio.files import read_sound
from toolkit.errors import UserError


def noise(channels: int, length: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((channels, length)) * 0.1).astype(np.float32)


def test_arrays_and_files_give_the_same(networks: dict[str, Path], tmp_path: Path):
    model, wav = load_model(networks["TestGain"], device="cpu"), noise(2, 30000)
    assert (model.inputs, model.outputs, model.sample_rate) == (("mixture",), ("speech",), 16000)
    soundfile.write(tmp_path / "in.wav", wav.T, 44100, "FLOAT")
    found = model.predict(wav, sample_rate=44100)
    np.testing.assert_allclose(found["speech"], 0.5 * wav, atol=1e-4)
    from_file = model.predict(tmp_path / "in.wav")
    assert from_file.sample_rate == 44100
    np.testing.assert_array_equal(from_file["speech"], found["speech"])
    done = model.process_file(tmp_path / "in.wav", tmp_path / "new" / "out.wav")
    assert done.paths == [tmp_path / "new" / "out.wav"]
    np.testing.assert_allclose(read_sound(done.paths[0])[0], found["speech"], atol=1e-6)
    assert model.predict(wav[0])["speech"].shape == (30000,)


def test_the_least_that_stays(networks: dict[str, Path]):
    model, wav = load_model(networks["TestGain"], device="cpu"), noise(1, 5000)[0]
    with torch.no_grad():
        model.network.gain.fill_(0.0)
    np.testing.assert_allclose(model.predict(wav, max_attenuation_db=20)["speech"], 0.1 * wav, atol=1e-5)
    np.testing.assert_allclose(model.predict(wav, mix=0.5)["speech"], 0.5 * wav, atol=1e-5)
    np.testing.assert_allclose(model.predict(wav, mix=0.5, max_attenuation_db=20)["speech"], 0.55 * wav, atol=1e-5)


def test_streams_only_from_causal_networks(networks: dict[str, Path]):
    stream, wav = load_model(networks["TestGain"], device="cpu").stream(), noise(1, 1000)[0]
    out = np.concatenate((stream.push(wav)[0], stream.flush()[0]))[stream.latency :]
    np.testing.assert_allclose(out, 0.5 * wav, atol=1e-5)
    with pytest.raises(UserError, match="not causal"):
        load_model(networks["TestSplit"], device="cpu").stream()


def test_samples_that_are_no_numbers_do_no_harm(networks: dict[str, Path]):
    model, wav = load_model(networks["TestGain"], device="cpu"), noise(1, 5000)[0]
    wav[100] = np.nan
    out = model.predict(wav)["speech"]
    wav[100] = 0
    np.testing.assert_allclose(out, 0.5 * wav, atol=1e-5)


def test_wrong_sources_are_named(networks: dict[str, Path]):
    model = load_model(networks["TestSubtract"], device="cpu")
    for sources, message in [
        ([noise(1, 10)], "microphone, reference"),
        ([np.zeros(10, np.int16), np.zeros(10, np.float32)], "int16"),
        ([np.zeros(0, np.float32), np.zeros(10, np.float32)], "samples in it"),
    ]:
        with pytest.raises(UserError, match=message):
            model.predict(*sources)


def test_a_reference_that_started_at_another_time_is_found(networks: dict[str, Path], tmp_path: Path):
    """1.5 s late or early, at another rate, stereo, shorter or longer: the echo goes all the same."""
    model = load_model(networks["TestSubtract"], device="cpu")
    far = noise(1, 16000 * 12)[0]
    far = np.convolve(far, np.ones(4) / 4, "same").astype(np.float32)  # below 4 kHz
    soundfile.write(tmp_path / "far.wav", np.stack((far, far), 1), 16000, "FLOAT")
    for later in (-24000, 0, 24000):
        echo = np.roll(far, 160 + later)
        if later < 0:
            echo[later:] = 0
        else:
            echo[:later] = 0
        soundfile.write(tmp_path / "mic.wav", echo[: 16000 * 10], 16000, "FLOAT")
        done = model.process_file(tmp_path / "mic.wav", tmp_path / "out.wav", tmp_path / "far.wav")
        left = read_sound(tmp_path / "out.wav")[0][0, 16000 * 2 : 16000 * 8]
        assert left.std() < 0.01 * echo[16000 * 2 : 16000 * 8].std()
        assert any("moved" in note for note in done.notes) == (later != 0)
        assert any("ends" in note for note in done.notes) == (later >= 0)


def test_sounds_save_under_the_names_of_the_outputs(networks: dict[str, Path], tmp_path: Path):
    wav = noise(1, 9000)[0]
    paths = load_model(networks["TestSplit"], device="cpu").predict(wav).save(tmp_path / "a.wav")
    assert [path.name for path in paths] == ["a_speaker1.wav", "a_speaker2.wav"]
    both = sum(read_sound(path)[0][0] for path in paths)
    assert np.square(both - wav).mean() < 0.01 * np.square(wav).mean()
