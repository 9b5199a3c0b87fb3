import json

import pytest
import torch

from toolkit.cli import run
from toolkit.commands.compare import part_of
from toolkit.engine.comparison import Summary, Trial, gain, grid, summarise
from toolkit.errors import UserError


def summary(name: str, values: list[float]) -> Summary:
    return Summary(name, list(range(len(values))), {"score": values}, [0.1] * len(values))


def test_a_gain_is_one_that_exceeds_both_spreads():
    base = summary("base", [0.50, 0.52, 0.54])  # 0.52, deviation 0.02
    assert gain(summary("far", [0.58, 0.60, 0.62]), base, "score") == (pytest.approx(0.08), True)
    assert gain(summary("near", [0.53, 0.55, 0.57]), base, "score") == (pytest.approx(0.03), False)
    assert gain(summary("worse", [0.40, 0.42, 0.44]), base, "score") == (pytest.approx(-0.10), True)
    assert gain(summary("alone", [0.9]), base, "score")[1] is False


def test_whole_seeds_come_first(tmp_path):
    trials = grid(["a.py", "b.py"], [0, 1], tmp_path)
    assert [(trial.name, trial.seed) for trial in trials] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_trains_every_seed_once_and_tables_the_last_validation(tiny_config, tmp_path, capsys):
    out = tmp_path / "out"
    command = [str(tiny_config), "-o", str(out), "--seeds", "3", "4", "--jobs", "2"]
    command += ["--cfg-options", "train_cfg.max_epochs=1"]
    assert run("compare", command) == 0
    trials = [Trial(tiny_config.stem, str(tiny_config), seed, out / tiny_config.stem / f"seed_{seed}",
                    ("train_cfg.max_epochs=1",)) for seed in (3, 4)]  # fmt: skip
    [found] = summarise(trials)
    assert found.seeds == [3, 4]
    text = (out / "results.md").read_text()
    assert tiny_config.stem in text
    assert f"{found.mean('coco/bbox_mAP'):.4g}" in text
    assert {name.name for name in out.glob("results.*")} == {"results.csv", "results.md", "results.png"}

    before = [(trial.folder / "train.log").stat().st_mtime_ns for trial in trials]
    assert run("compare", command) == 0  # nothing is left to run
    assert [(trial.folder / "train.log").stat().st_mtime_ns for trial in trials] == before

    capsys.readouterr()
    changed = [*command[:-1], "train_cfg.max_epochs=2"]
    assert run("compare", changed) == 2
    assert "--force" in capsys.readouterr().err


def test_a_failed_run_is_listed_and_the_others_go_on(tiny_config, tmp_path, capsys):
    broken = tmp_path / "broken.py"
    broken.write_text(f"_base_ = [{str(tiny_config)!r}]\nmodel = dict(bbox_head=dict(in_channels=17))\n")
    out = tmp_path / "out"
    command = [str(broken), str(tiny_config), "-o", str(out), "--seeds", "0", "--cfg-options", "train_cfg.max_epochs=1"]
    assert run("compare", command) == 1
    assert "broken" in capsys.readouterr().err
    assert json.loads((out / tiny_config.stem / "seed_0" / "result.json").read_text())["metrics"]
    assert not (out / "broken" / "seed_0" / "result.json").exists()


def test_a_part_of_a_warm_start(tmp_path):
    torch.save(dict(state_dict={"backbone.a": torch.ones(2), "neck.b": torch.ones(1)}), tmp_path / "whole.pth")
    part = part_of(tmp_path / "whole.pth", "backbone.", tmp_path)
    assert list(torch.load(part, weights_only=True)["state_dict"]) == ["backbone.a"]
    with pytest.raises(UserError, match="--warm-part head"):
        part_of(tmp_path / "whole.pth", "head.", tmp_path)


def test_what_a_run_begins_with_is_part_of_its_result(tiny_config, tmp_path):
    torch.save({}, tmp_path / "start.pth")
    plain = Trial("tiny", str(tiny_config), 0, tmp_path)
    warm = Trial("tiny", str(tiny_config), 0, tmp_path, load_from=tmp_path / "start.pth")
    other = Trial("tiny", str(tiny_config), 1, tmp_path)
    assert len({plain.fingerprint(), warm.fingerprint(), other.fingerprint()}) == 3
    assert plain.fingerprint() == Trial("renamed", str(tiny_config), 0, tmp_path / "elsewhere").fingerprint()
