"""Simulated echo is what it is said to be; its figures; the classical canceller on it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import correlate

from toolkit.audio.echo import EchoDataset, active_level, distorted
from toolkit.audio.echo_scores import EchoScores, scenario_of
from toolkit.cli import run
from toolkit.errors import UserError

RATE = 8000


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """speech/ with four "speakers" of modulated noise in two takes each, noise/ with one hiss."""
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    for name in ("speech", "noise"):
        (folder / name).mkdir()
    for speaker in "abcd":
        for take in range(2):
            swell = np.abs(np.sin(np.arange(2 * RATE) * rng.uniform(1, 3) / 500))
            speech = 0.2 * rng.standard_normal(2 * RATE) * swell
            soundfile.write(folder / "speech" / f"{speaker}_{take}.wav", speech.clip(-1, 1), RATE)
    soundfile.write(folder / "noise" / "hiss.wav", 0.1 * rng.standard_normal(3 * 16000), 16000)
    return folder


def dataset(sounds: Path, **changes) -> EchoDataset:
    arguments = dict(
        speech=[dict(path=sounds / "speech", speaker="(.)_")],
        noise=dict(path=sounds / "noise"),
        length=6,
        seconds=2.0,
        sample_rate=RATE,
        rooms=3,
        seed=1,
    )
    return EchoDataset(**{**arguments, **changes})


def test_targets_add_up_and_levels_are_as_asked(sounds: Path):
    recordings = dataset(sounds, scenarios=["double"], echo_ratio=(-5, -5), noise_ratio=(20, 20))
    for number in range(4):
        item = recordings[number]
        near, echo, noise = item["targets"].numpy()
        np.testing.assert_allclose(near + echo + noise, item["inputs"][0].numpy(), atol=1e-6)
        assert 20 * np.log10(active_level(near) / active_level(echo)) == pytest.approx(-5, abs=0.1)
        assert 20 * np.log10(active_level(echo) / active_level(noise)) == pytest.approx(20, abs=0.1)
        assert item["inputs"].abs().max() <= 1


def test_scenarios_take_turns(sounds: Path):
    recordings = dataset(sounds, scenarios=["far", "near", "double"])
    assert [scenario_of(recordings[n]["targets"]) for n in range(6)] == ["far", "near", "double"] * 2
    far, near = recordings[0], recordings[1]
    assert not far["targets"][0].any()
    assert far["inputs"][1].any()
    assert not near["targets"][1].any()
    assert not near["inputs"][1].any()


def test_the_echo_comes_after_the_reference_by_the_delay(sounds: Path):
    recordings = dataset(sounds, scenarios=["far"], delay=(0.04, 0.04), distortion=0, reverberation=(0.1, 0.1))
    item = recordings[0]
    fit = correlate(item["targets"][1].numpy(), item["inputs"][1].numpy(), method="fft")
    lag = int(np.abs(fit).argmax()) - (item["inputs"].shape[-1] - 1)
    assert lag == pytest.approx(0.04 * RATE + 8, abs=2)  # a response has its direct sound at sample 8


def test_a_seed_fixes_the_items(sounds: Path):
    one, other = dataset(sounds)[2], dataset(sounds)[2]
    torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert not torch.equal(dataset(sounds, seed=2)[2]["inputs"], one["inputs"])


def test_a_loudspeaker_keeps_most_of_the_signal():
    rng = np.random.default_rng(0)
    tone = np.sin(np.arange(8000) / 20).astype(np.float32)
    changed = [distorted(rng, tone) for _ in range(20)]
    likeness = [np.corrcoef(tone, one)[0, 1] for one in changed]
    assert min(likeness) > 0.9
    assert all(np.abs(one - tone * (one @ tone) / (tone @ tone)).max() > 1e-4 for one in changed)


def test_what_cannot_be_simulated_is_one_line(sounds: Path):
    with pytest.raises(UserError, match="two speakers"):
        dataset(sounds, speech=[dict(path=sounds / "speech", speaker="(.)_", only="a_")])
    with pytest.raises(UserError, match="scenarios"):
        dataset(sounds, scenarios=["both"])


def test_scores_are_means_over_each_scenario(sounds: Path):
    recordings = dataset(sounds, scenarios=["far", "near", "double"])
    metric = EchoScores()
    for number in range(6):
        item = recordings[number]
        inputs, targets = item["inputs"][None], item["targets"][None]
        perfect = targets if number % 3 else targets + 0.1 * inputs[:, :1]
        metric.process(dict(inputs=inputs, targets=targets), perfect)
    scores = metric.compute_metrics(metric.results)
    assert scores["far_erle"] == pytest.approx(20, abs=1e-3)
    assert scores["double_si_sdr"] > 60
    assert scores["double_si_sdr_improvement"] > scores["near_si_sdr_improvement"] > 0


def test_speex_takes_out_a_plain_echo():
    pytest.importorskip("pyaec")
    from toolkit.audio.speex import cancel_echo

    rng = np.random.default_rng(0)
    reference = (0.1 * rng.standard_normal(10 * RATE)).astype(np.float32)
    microphone = np.concatenate((np.zeros(100, np.float32), 0.5 * reference))[: len(reference)]
    left = cancel_echo(microphone, reference, RATE, suppress=False)
    assert left.shape == microphone.shape
    tail = slice(5 * RATE, None)
    assert 10 * np.log10(np.square(microphone[tail]).mean() / np.square(left[tail]).mean()) > 20


def test_speex_output_is_in_step_with_the_microphone():
    pytest.importorskip("pyaec")
    from toolkit.audio.speex import cancel_echo

    rng = np.random.default_rng(0)
    swell = 1 + np.sin(np.arange(3 * RATE) / 800)
    near = (0.05 * rng.standard_normal(3 * RATE) * swell).astype(np.float32)
    for suppress in (False, True):
        out = cancel_echo(near, np.zeros_like(near), RATE, suppress=suppress)
        assert int(correlate(out, near, method="fft").argmax()) == len(near) - 1


def test_cancellers_are_compared_in_one_table(sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    network = dict(type="D3NetAEC", channels=2, depth=1, layers=2, blocks=1, taps=2, sample_rate=RATE)
    text = f"custom_imports = dict(imports=['toolkit'])\nmodel = dict(type='AudioModel', network={network})\n"
    from mmengine.registry import MODELS

    import toolkit  # noqa: F401

    weights = MODELS.build(dict(type="AudioModel", network=dict(network))).state_dict()
    torch.save({"state_dict": weights, "meta": {"cfg": text}}, tmp_path / "tiny.pth")
    arguments = ["--speech", str(sounds / "speech"), "--noise", str(sounds / "noise"), "--speaker", "(.)_"]
    arguments += ["--count", "1", "--seconds", "3", "--warm-up", "1", "--model", str(tmp_path / "tiny.pth")]
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    assert run("compare-cancellers", [*arguments, "-o", str(tmp_path / "figures.csv")]) == 0
    table = capsys.readouterr().out
    row = next(line for line in table.splitlines() if line.startswith("| unprocessed"))
    assert row.split("|")[2].strip() == "0.00"  # ERLE of what is left alone
    assert "| tiny |" in table
    assert (tmp_path / "figures.csv").read_text().startswith("canceller,recording,measure,value")
    assert run("compare-cancellers", [*arguments, "-o", str(tmp_path / "figures.csv")]) == 2
    assert "--force" in capsys.readouterr().err
