import csv
import json

import cv2
import numpy as np
import pytest
import torch

from toolkit.cli import run
from toolkit.commands._benchmark_modules import Task, work


@pytest.fixture
def pictures(tmp_path):
    """Two classes that a glance tells apart: bright and dark."""
    rng = np.random.default_rng(0)
    for name, level in (("bright", 200), ("dark", 50)):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for number in range(10):
            cv2.imwrite(str(folder / f"{number}.png"), (level + rng.integers(-30, 30, (20, 24, 3))).astype(np.uint8))
    return tmp_path / "data"


def test_trains_measures_and_goes_on(pictures, tmp_path, capsys):
    out = tmp_path / "out"
    task = Task("convnext", "SE", pictures, 32, (0,), 40, 1, out)
    work(task)
    first = task.read()
    assert first["accuracies"] == {"0": 1.0}
    command = ["modules", "SE", "--networks", "convnext", "--data", str(pictures), "--epochs", "40", "-o", str(out)]
    assert run("benchmark", [*command, "--seeds", "0", "1"]) == 0
    second = json.loads(task.path.read_text())
    assert second["cost"] == first["cost"]  # what is there is not done again
    assert list(second["accuracies"]) == ["0", "1"]

    with (out / "modules.csv").open() as file:
        rows = {row["module"]: row for row in csv.DictReader(file)}
    extra = sum(2 * c * (c // 16) for c in (32, 64, 128, 256) for _ in range(2))  # SE's two matrices in each block
    assert int(rows["SE"]["params"]) - int(rows["plain"]["params"]) == extra
    assert "| SE | attention |" in (out / "modules.md").read_text()
    assert (out / "accuracy_time.png").stat().st_size > 5000

    capsys.readouterr()
    assert run("benchmark", [*command, "--seeds", "0", "--size", "40"]) == 2
    assert "--force" in capsys.readouterr().err


def test_every_block_gets_the_module():
    from toolkit.engine.module_benchmark import build
    from toolkit.modules.attention.se import SE

    for network in ("resnet18", "convnext"):
        net = build(network, "SE", 5, 32)
        assert sum(isinstance(module, SE) for module in net.modules()) == 8
        assert net(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_a_norm_that_changes_in_training_is_done_before_its_end():
    from toolkit.engine.module_benchmark import build, train
    from toolkit.modules.norm.prepbn import PRepBN

    net = build("resnet18", "PRepBN", 2, 32)
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8) % 2
    train(net, (x, y, x, y), epochs=4, seed=0)
    assert {int(norm.iter) for norm in net.modules() if isinstance(norm, PRepBN)} == {0}


def test_digits_are_the_same_at_every_call_and_can_be_told_apart():
    pytest.importorskip("sklearn")
    from toolkit.engine.module_benchmark import digits

    x, labels, *_ = digits(32, (64, 8))
    again, *_ = digits(32, (64, 8))
    assert torch.equal(x, again)
    assert x.shape == (64, 3, 32, 32)
    assert x.abs().max() <= 1
    assert set(labels.tolist()) == set(range(10))


@pytest.mark.parametrize(("name", "message"), [("SEE", "SE"), ("modules", "maps of one shape")])
def test_unknown_modules_are_named(name, message, tmp_path, capsys):
    assert run("benchmark", ["modules", name, "-o", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
