import csv
from pathlib import Path

import pytest
import torch

from toolkit.cli import run
from toolkit.commands import _benchmark_audio
from toolkit.commands._benchmark_audio import Row, build, recording, table
from toolkit.timing import count_macs

SMALL = """
model = dict(type="AudioModel", network=dict(type="MossFormer2SS", num_blocks=1, dim=16,
             attention=dict(query_key_dim=8, group_size=64), memory=dict(inner_dim=8, order=3), sample_rate=8000))
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(SMALL)
    return path


def test_a_table_a_csv_and_a_plot(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = ["audio", str(small), "--seconds", "0.5", "--repeats", "1", "--device", "cpu", "-o", str(tmp_path)]
    assert run("benchmark", command) == 0
    (row,) = csv.DictReader((tmp_path / "audio.csv").open())
    assert float(row["real_time_factor"]) == pytest.approx(float(row["deployed_s"]) / 0.5)
    assert int(row["params"]) == sum(parameter.numel() for parameter in build(str(small)).parameters())
    assert float(row["deviation"]) < 1e-4
    assert "| small | 8 |" in (tmp_path / "audio.md").read_text()
    assert (tmp_path / "audio.png").stat().st_size > 5000
    capsys.readouterr()
    assert run("benchmark", command) == 2
    assert "--force" in capsys.readouterr().err


def test_multiply_adds_are_those_of_plain_products(small: Path, monkeypatch: pytest.MonkeyPatch):
    network = build(str(small))
    signals = recording(network, 0.5, torch.device("cpu"))
    with torch.inference_mode():
        found = count_macs(lambda: network(*signals))
        monkeypatch.setattr("toolkit.audio.mossformer2.product", torch.matmul)
        assert count_macs(lambda: network(*signals)) == found > 0


def test_other_outputs_of_the_deployed_form_are_told(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("toolkit.timing.deviation", lambda *_: 0.5)
    monkeypatch.setattr(_benchmark_audio, "apart", lambda *_: None)
    command = ["audio", str(small), "--seconds", "0.2", "--repeats", "1", "--device", "cpu", "-o", str(tmp_path)]
    assert run("benchmark", command) == 1
    assert "| NO (5e-01) | - |" in (tmp_path / "audio.md").read_text()


def test_the_table_has_the_ratio_and_the_factor():
    text = table([Row("net", 4.0, 16000, 10**6, 2 * 10**9, 2.0, 1.0, 0.5, 1e-6, 12.3)], "4 s")
    assert "| net | 16 | 1.00 | 2.00 | 2.000 | 1.000 (0.50) | 0.250 | yes (1e-06) | 12 |" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["detection/yolo_ms_xs_300e_coco"], "give configs of 'AudioModel'"),
        (["--seconds", "0"], "--seconds must be from 0.1 to 600"),
        (["--repeats", "0"], "--repeats must be at least 1"),
    ],
)
def test_what_cannot_be_measured_is_one_line(argv, message, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("benchmark", ["audio", *argv, "-o", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
