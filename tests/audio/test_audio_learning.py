"""Training from scratch parts speakers (80 minutes on one core: `pytest -m slow`)."""

import json
from pathlib import Path

import pytest

from toolkit.cli import run

CONFIG = "audio/mossformer2_ss_2block_8k"


@pytest.mark.slow
@pytest.mark.shared
def test_small_mossformer2(shared: Path, tmp_path: Path) -> None:
    where = ["--data-root", str(shared / "data" / "speech_mix")]
    assert run("train", [CONFIG, "--work-dir", str(tmp_path), *where]) == 0
    out = tmp_path / "metrics.json"
    every = ["--cfg-options", "test_dataloader.dataset.only=item"]  # of those whose sources it was trained on, too
    test = [CONFIG, str(tmp_path / "best.pth"), "--work-dir", str(tmp_path / "test"), "--out", str(out)]
    assert run("test", [*test, *where, *every]) == 0
    assert json.loads(out.read_text())["audio/si_sdr_improvement"] >= 8
