"""The comparison of denoisers: aligned measures, right levels, and what a wrong call says."""

import numpy as np
import pytest
import soundfile
import torch

from toolkit.commands.compare_denoisers import RATE, main, measure, stretch_from
from toolkit.errors import UserError


@pytest.mark.parametrize("late", [0, 320, -500])
def test_measure_forgives_a_delay(late):
    rng = np.random.default_rng(0)
    clean = rng.standard_normal(8000).astype(np.float32)
    noisy = clean + 0.1 * rng.standard_normal(8000).astype(np.float32)
    assert measure(np.roll(noisy, late), clean) == pytest.approx(20, abs=0.8)


def test_measure_of_signals_shorter_than_the_reach():
    clean = np.random.default_rng(0).standard_normal(300).astype(np.float32)
    assert measure(0.5 * clean, clean) > 60


def test_noise_is_repeated_from_a_place_of_its_own():
    noise = np.arange(100.0)
    one, other = (stretch_from(noise, 250, name) for name in ("a", "b"))
    np.testing.assert_array_equal(one[:100], one[100:200])
    assert set(one) == set(noise)
    assert one[0] != other[0]


def test_table(tmp_path, capsys):
    """A network that halves everything neither gains nor loses, and leaves clean speech as it is."""
    rng = np.random.default_rng(0)
    for name in ("speech", "noise"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", 0.1 * rng.standard_normal(RATE // 2), RATE, subtype="FLOAT")
    text = "custom_imports = dict(imports=['toolkit'])\nmodel = dict(type='BandGRU', channels=(4, 4), hidden=4)\n"
    from toolkit.audio.denoiser import BandGRU

    weights = {name: 0 * value for name, value in BandGRU(channels=(4, 4), hidden=4).state_dict().items()}
    weights["head.bias"][:2] = float(np.arctanh(0.5))
    torch.save({"state_dict": weights, "meta": {"cfg": text}}, tmp_path / "half.pth")
    options = ["--speech", str(tmp_path / "speech"), "--noise", str(tmp_path / "noise"), "--levels", "0", "10"]
    options += ["--model", str(tmp_path / "half.pth"), "--without", "rnnoise", "noisereduce"]
    assert main([*options, "-o", str(tmp_path / "figures.csv")]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| half"))
    cells = [cell.strip() for cell in row.split("|")[2:6]]
    np.testing.assert_allclose([float(cell) for cell in cells[:2]], 0, atol=0.2)  # all but 0 Hz, which is cut
    assert float(cells[2].removesuffix(" dB")) > 15
    assert len((tmp_path / "figures.csv").read_text().splitlines()) == 4
    with pytest.raises(UserError, match="--force"):
        main([*options, "-o", str(tmp_path / "figures.csv")])
    with pytest.raises(UserError, match="no such folder"):
        main(["--speech", str(tmp_path / "nothing"), "--noise", str(tmp_path / "noise")])
