"""Data sets: what belongs together is found, mixtures are the sums they say, noise is as loud as asked."""

import csv

import numpy as np
import pytest
import soundfile
import torch
from mmengine.registry import DATASETS

from toolkit.audio.datasets import AlignedAudio, SpeakerMixtures, SpeechInNoise, band_extended, find_audio
from toolkit.errors import UserError

RATE = 8000


@pytest.fixture
def folder(tmp_path):
    """Six recordings of two speakers, two of noise."""
    rng = np.random.default_rng(0)
    for speaker, tone in (("anna", 200), ("bert", 900)):
        for take in range(3):
            time = np.arange(RATE + 1000 * take) / RATE
            voice = 0.2 * np.sin(2 * np.pi * tone * time + take)
            (tmp_path / "speech").mkdir(exist_ok=True)
            soundfile.write(tmp_path / "speech" / f"{take}_{speaker}.wav", voice, RATE)
    (tmp_path / "noise").mkdir()
    for name in ("fan", "rain"):
        soundfile.write(tmp_path / "noise" / f"{name}.wav", 0.1 * rng.standard_normal(RATE // 2), RATE)
    return tmp_path


def write(path, samples, rate=RATE):
    path.parent.mkdir(exist_ok=True, parents=True)
    soundfile.write(path, samples, rate, subtype="FLOAT")


def test_folders_of_equal_names(tmp_path):
    rng = np.random.default_rng(0)
    sources = rng.uniform(-0.4, 0.4, (3, 2, 500)).astype(np.float32)
    for number, (one, two) in enumerate(sources):
        for name, samples in (("s1", one), ("s2", two), ("mix_clean", one + two)):
            write(tmp_path / name / f"file{number}.wav", samples)
    data = AlignedAudio(tmp_path, ("mix_clean/*.wav",), ("s1/*.wav", "s2/*.wav"), RATE)
    assert len(data) == 3
    for item, expected in zip(data, sources, strict=False):
        np.testing.assert_array_equal(item["targets"], expected)
        np.testing.assert_allclose(item["inputs"][0], expected.sum(0), atol=1e-6)


def test_pieces_are_from_the_same_place(tmp_path):
    ramp = np.linspace(-0.5, 0.5, 4000, dtype=np.float32)
    write(tmp_path / "noisy" / "a_fileid_7.wav", ramp)
    write(tmp_path / "clean" / "clean_fileid_7.wav", 0.5 * ramp)
    data = AlignedAudio(tmp_path, ("noisy/*_fileid_*.wav",), ("clean/clean_fileid_*.wav",), RATE, seconds=0.1)
    starts = set()
    for seed in range(4):
        np.random.seed(seed)
        item = data[0]
        assert item["inputs"].shape == (1, 800)
        torch.testing.assert_close(item["targets"], 0.5 * item["inputs"])
        starts.add(float(item["inputs"][0, 0]))
    assert len(starts) == 4


def test_several_signals_in_one_folder_and_tables(tmp_path):
    for name in ("item1_mix", "item1_source1", "item1_source2", "item10_mix", "item10_source1", "item10_source2"):
        write(tmp_path / f"{name}.wav", np.full(10, 0.1 if "item10" in name else 0.2))
    patterns = dict(inputs=("*_mix.wav",), targets=("*_source1.wav", "*_source2.wav"))
    data = AlignedAudio(tmp_path, **patterns, sample_rate=RATE, skip="item1_")
    assert [float(item["targets"].mean()) for item in (data[0],)] == [pytest.approx(0.1)]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("mixture_path", "source_1_path"), ("item1_mix.wav", "item1_source1.wav")])
    table = AlignedAudio(tmp_path, ("mixture_path",), ("source_1_path",), RATE, table="list.csv")
    assert len(table) == 1
    assert float(table[0]["inputs"].mean()) == pytest.approx(0.2)


def test_what_is_wrong_with_a_set_is_said(folder):
    with pytest.raises(UserError, match="files like this have none"):
        AlignedAudio(folder, ("speech/*.wav",), ("noise/*.wav",), RATE)
    with pytest.raises(UserError, match="no such folder"):
        find_audio(folder / "nothing")
    with pytest.raises(UserError, match="fits only='x'"):
        find_audio(folder / "noise", only="x")
    with pytest.raises(UserError, match="finds no speaker"):
        SpeakerMixtures([dict(path=str(folder / "noise"), speaker="_(.*)")], 1, 1.0, RATE)
    with pytest.raises(UserError, match="fewer speakers"):
        SpeakerMixtures([dict(path=str(folder / "speech"), speaker="_(.*)")], 1, 1.0, RATE, speakers=3)
    (folder / "speech" / "broken_carl.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"broken_carl\.wav: cannot be read"):
        SpeakerMixtures([dict(path=str(folder / "speech"), only="broken|0_anna")], 1, 1.0, RATE)[0]


def test_mixtures_add_up_and_have_two_speakers(folder):
    data = SpeakerMixtures([dict(path=str(folder / "speech"), speaker="_(.*)")], 4, 0.8, RATE)
    seen = set()
    for index in range(4):
        item = data[index]
        torch.testing.assert_close(item["inputs"][0], item["targets"].sum(0), atol=1e-6, rtol=0)
        powers = np.abs(np.fft.rfft(item["targets"].numpy()))
        tones = (powers.argmax(1) / 0.8).round().astype(int)
        assert sorted(tones // 100) == [2, 9]
        seen.add(tuple(tones))
    assert float(item["inputs"].abs().max()) <= 0.9


def test_a_seed_fixes_the_set(folder):
    speech, noise = [dict(path=str(folder / "speech"))], [dict(path=str(folder / "noise"))]
    one, two = (SpeechInNoise(speech, noise, 4, 0.5, RATE, snr=(-5, 20), seed=3) for _ in range(2))
    for index in range(4):
        torch.testing.assert_close(one[index], two[index], rtol=0, atol=0)
        inputs, targets = one[index]["inputs"], one[index]["targets"]
        ratio = 10 * torch.log10(targets.square().sum() / (inputs - targets).square().sum())
        assert float(ratio) == pytest.approx((-5, 20)[index % 2], abs=0.01)


def test_training_samples_keep_to_the_range_of_ratios(folder):
    data = DATASETS.build(
        dict(
            type="SpeechInNoise", speech=[dict(path=str(folder / "speech"))], noise=[dict(path=str(folder / "noise"))],
            length=1, seconds=0.5, sample_rate=16000, snr=(0, 10), synthetic=0.4, babble=0.2, clean=0.2, rooms=0.5,
        )
    )  # fmt: skip
    ratios = []
    for seed in range(25):
        np.random.seed(seed)
        item = data[0]
        assert item["inputs"].shape == item["targets"].shape == (1, 8000)
        assert item["inputs"].isfinite().all()
        noise = item["inputs"] - item["targets"]
        ratios.append(float(10 * torch.log10(item["targets"].square().sum() / noise.square().sum())))
    mixed = [ratio for ratio in ratios if ratio < 20]
    assert min(ratios) >= -0.1
    assert max(mixed) <= 10.1
    assert 1 <= len(ratios) - len(mixed) <= 12  # the clean ones
    assert np.std(mixed) > 1


def test_band_extension_adds_only_what_is_missing():
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.standard_normal(16000))
    frequencies = np.fft.rfftfreq(16000, 1 / 16000)
    speech = np.fft.irfft(spectrum * (frequencies < 3600)).astype(np.float32)
    extended = np.fft.rfft(band_extended(rng, speech, 4000, 16000))
    np.testing.assert_allclose(
        extended[frequencies < 3500], (spectrum * (frequencies < 3600))[frequencies < 3500], atol=0.05
    )
    high = np.mean(np.abs(extended[frequencies > 4300]) ** 2) / np.mean(np.abs(extended[frequencies < 3500]) ** 2)
    assert 0.001 < high < 2
