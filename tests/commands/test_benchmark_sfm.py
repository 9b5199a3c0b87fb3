import csv

import cv2
import numpy as np
import pytest

from toolkit.cli import run


@pytest.fixture
def pictures(tmp_path):
    """Smooth pictures, each with fine texture in one place."""
    rng = np.random.default_rng(0)
    for number in range(8):
        picture = cv2.resize(rng.uniform(60, 190, (3, 4, 3)), (96, 64), interpolation=cv2.INTER_CUBIC)
        y, x = rng.integers(4, 36), rng.integers(4, 68)
        picture[y : y + 24, x : x + 24] += cv2.GaussianBlur(rng.normal(0, 150, (24, 24, 3)), (0, 0), 0.8)
        (tmp_path / "pictures").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), picture.clip(0, 255).astype(np.uint8))
    return tmp_path / "pictures"


def test_keeps_more_detail_and_says_so(pictures, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["sfm", str(pictures), "--side", "96", "--steps", "40", "-o", str(out)]
    assert run("benchmark", command) == 0
    with (out / "sfm.csv").open() as file:
        [row] = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert row["psnr_modulated"] > row["psnr"] + 1
    assert row["power_modulated"] < 0.75 * row["power"]
    assert 0 < row["least_stretch"] < 1 < row["most_stretch"]
    assert cv2.imread(str(out / "sfm.png")).shape == (128, 192, 3)
    assert f"{row['psnr_modulated']:.2f}" in capsys.readouterr().out
    assert run("benchmark", command) == 2
    assert "--force" in capsys.readouterr().err


def test_needs_pictures(tmp_path, capsys):
    assert run("benchmark", ["sfm", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "no pictures" in capsys.readouterr().err
