"""Whole training runs of a tiny detector through the command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from toolkit.checkpoint import load_checkpoint
from toolkit.cli import run
from toolkit.engine.runner import merge_equal_groups

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path)["state_dict"]


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], tolerance: float = 0.0) -> None:
    assert a.keys() == b.keys()
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], rtol=0, atol=tolerance, msg=lambda text, key=key: f"{key}: {text}")


@pytest.fixture(scope="module")
def uninterrupted(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work_dir = tmp_path_factory.mktemp("uninterrupted")
    assert run("train", [str(tiny_config), "--work-dir", str(work_dir), "--seed", "3"]) == 0
    return work_dir


def test_run_leaves_checkpoints_curves_and_tensorboard(uninterrupted: Path) -> None:
    assert (uninterrupted / "epoch_3.pth").is_file()
    assert (uninterrupted / "best.pth").resolve().name.startswith("best_coco_bbox_mAP")
    assert (uninterrupted / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert list(uninterrupted.glob("*/vis_data/events.out.tfevents.*"))


def test_learns_something_else_than_it_began_with(uninterrupted: Path, tiny_config: Path, tmp_path: Path) -> None:
    argv = [str(tiny_config), "--work-dir", str(tmp_path), "--seed", "4", "--cfg-options", "train_cfg.max_epochs=1"]
    assert run("train", argv) == 0
    first, last = weights(tmp_path / "epoch_1.pth"), weights(uninterrupted / "epoch_3.pth")
    assert any(not torch.equal(first[key], last[key]) for key in first)


def test_resumed_after_an_epoch_equals_uninterrupted(uninterrupted: Path, tiny_config: Path, tmp_path: Path) -> None:
    stop_early = ["--cfg-options", "default_hooks.stop={'type':'StopAt','iteration':4}"]
    argv = [str(tiny_config), "--work-dir", str(tmp_path)]
    _register_stop_at()
    assert run("train", [*argv, "--seed", "3", *stop_early]) == 130
    assert load_checkpoint(tmp_path / "stopped.pth")["meta"]["iter"] == 4
    assert run("train", [*argv, "--resume"]) == 0
    assert_equal(weights(tmp_path / "epoch_3.pth"), weights(uninterrupted / "epoch_3.pth"))


def test_resumed_within_an_epoch_equals_uninterrupted(uninterrupted: Path, tiny_config: Path, tmp_path: Path) -> None:
    _register_stop_at()
    workers = ["train_dataloader.num_workers=2", "train_dataloader.persistent_workers=True"]
    argv = [str(tiny_config), "--work-dir", str(tmp_path)]
    stop_early = [*workers, "default_hooks.stop={'type':'StopAt','iteration':6}"]
    assert run("train", [*argv, "--seed", "3", "--cfg-options", *stop_early]) == 130
    assert run("train", [*argv, "--resume", str(tmp_path / "stopped.pth"), "--cfg-options", *workers]) == 0
    assert_equal(weights(tmp_path / "epoch_3.pth"), weights(uninterrupted / "epoch_3.pth"))


def test_resumed_with_another_length_names_both(tiny_config: Path, tmp_path: Path, capsys) -> None:
    argv = [str(tiny_config), "--work-dir", str(tmp_path), "--cfg-options"]
    one, two = "train_cfg.max_epochs=1", "train_cfg.max_epochs=2"
    cosine = "param_scheduler=[{{'type':'CosineAnnealingLR','T_max':4,'end':{}}}]"
    resume = [*argv[:3], "--resume", str(tmp_path / "epoch_1.pth"), "--cfg-options"]
    assert run("train", [*argv, one, cosine.format(4)]) == 0
    capsys.readouterr()

    def warning(*options: str, code: int = 0) -> str:
        assert run("train", [*resume, *options]) == code
        return "".join(capsys.readouterr())

    assert "is of a run of" not in warning(one, cosine.format(4))
    longer = warning(two, cosine.format(4))
    assert "of a run of 1 epochs (4 iterations), the config's is of 2 epochs (8 iterations)" in longer
    assert "which is also the config's" in longer
    assert "which is not the config's" in warning(two, cosine.format(8))
    schedulers = load_checkpoint(tmp_path / "epoch_2.pth")["param_schedulers"]
    assert schedulers[0]["end"] == 4  # the warning tells the truth
    for kind in ("MultiStepLR','milestones':[1]", "ExponentialLR','gamma':0.9"):
        assert "another kind" in warning(two, f"param_scheduler=[{{'type':'{kind}}}]", code=2)
    assert "has 2 in the config and 1 in the checkpoint" in warning(
        two, "param_scheduler=[{'type':'ConstantLR','factor':1},{'type':'ConstantLR','factor':1}]", code=2
    )


def _register_stop_at() -> None:
    """A StopHook that behaves as if Ctrl-C came during iteration `iteration`."""
    from mmengine.registry import HOOKS

    from toolkit.engine.hooks import StopHook

    if "StopAt" in HOOKS.module_dict:
        return

    class StopAt(StopHook):
        def __init__(self, iteration: int):
            super().__init__()
            self.iteration = iteration

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter + 1 == self.iteration:
                signal.raise_signal(signal.SIGINT)

    HOOKS.register_module(module=StopAt)


def test_ctrl_c_saves_and_resume_goes_on(tiny_config: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(TOOLS / "train.py"), str(tiny_config), "--work-dir", str(tmp_path / "run")]
    many = ["--cfg-options", "train_cfg.max_epochs=500", "train_dataloader.num_workers=1"]
    process = subprocess.Popen(
        [*command, *many], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    line = ""
    while not line.startswith("epoch 2/"):
        line = process.stdout.readline()
        assert line, process.stderr.read()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    saved = load_checkpoint(tmp_path / "run" / "stopped.pth")["meta"]["iter"]
    assert saved >= 8


def test_work_dir_with_a_run_is_not_overwritten(uninterrupted: Path, tiny_config: Path, capsys) -> None:
    before = (uninterrupted / "epoch_3.pth").stat().st_mtime_ns
    assert run("train", [str(tiny_config), "--work-dir", str(uninterrupted)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert (uninterrupted / "epoch_3.pth").stat().st_mtime_ns == before


def test_learning_rate_is_scaled_and_printed(tiny_config: Path, tmp_path: Path, capsys) -> None:
    short = ["--cfg-options", "train_cfg.max_epochs=1", "param_scheduler=None"]
    assert run("train", [str(tiny_config), "--work-dir", str(tmp_path / "a"), *short]) == 0
    assert "learning rate 0.0005 at batch 2" in capsys.readouterr().out
    assert run("train", [str(tiny_config), "--work-dir", str(tmp_path / "b"), "--no-scale-lr", *short]) == 0
    assert "learning rate 0.001 at batch 2" in capsys.readouterr().out
    rates = [load_checkpoint(tmp_path / name / "epoch_1.pth")["optimizer"]["param_groups"][0]["lr"] for name in "ab"]
    assert rates == pytest.approx([0.0005, 0.001])


def test_amp_on_cpu_computes_in_bfloat16(tiny_config: Path, tmp_path: Path) -> None:
    from mmdet.models.necks import FPN

    seen = []
    forward = FPN.forward

    def spy(self, inputs):
        outs = forward(self, inputs)
        if self.training:
            seen.append(outs[0].dtype)
        return outs

    FPN.forward = spy
    try:
        argv = [str(tiny_config), "--work-dir", str(tmp_path), "--amp", "--device", "cpu"]
        assert run("train", [*argv, "--cfg-options", "train_cfg.max_epochs=1"]) == 0
    finally:
        FPN.forward = forward
    assert set(seen) == {torch.bfloat16}
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "epoch_1.pth").values())


def test_check_runs_one_batch_and_names_unread_keys(tiny_config: Path, tmp_path: Path, capsys) -> None:
    config = tmp_path / "with_unread.py"
    config.write_text(tiny_config.read_text() + "\nmodel['test_cfg']['nms_thr'] = 0.5\nlernrate = 1\n")
    assert run("train", [str(config), "--check", "--work-dir", str(tmp_path / "none")]) == 0
    out = capsys.readouterr().out
    assert "one batch: loss" in out
    assert "model.test_cfg.nms_thr" in out
    assert "lernrate" in out
    assert "ok (" in out
    assert not (tmp_path / "none").exists()


def test_disk_full_keeps_the_old_checkpoint(tiny_config: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    argv = [str(tiny_config), "--work-dir", str(tmp_path), "--cfg-options"]
    assert run("train", [*argv, "train_cfg.max_epochs=1", "default_hooks.checkpoint.max_keep_ckpts=1"]) == 0
    before = (tmp_path / "epoch_1.pth").read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    capsys.readouterr()
    options = ["train_cfg.max_epochs=2", "default_hooks.checkpoint.max_keep_ckpts=1"]
    assert run("train", [*argv[:3], "--resume", "--cfg-options", *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "No space left on device" in error
    assert "epoch_2.pth" in error
    assert (tmp_path / "epoch_1.pth").read_bytes() == before
    assert not [path.name for path in tmp_path.iterdir() if "epoch_2" in path.name]


def test_two_processes_equal_one_with_the_same_global_batch(tiny_config: Path, tmp_path: Path) -> None:
    # without averaged weights or Adam's division by tiny second moments, which would magnify rounding
    sgd = "optim_wrapper.optimizer={'type':'SGD','lr':0.01}"
    options = ["--cfg-options", "train_cfg.max_epochs=2", sgd, "custom_hooks=[]"]
    one = [str(tiny_config), "--work-dir", str(tmp_path / "one"), *options, "train_dataloader.batch_size=4"]
    assert run("train", one) == 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29533"]
    two = [str(tiny_config), "--launcher", "pytorch", "--work-dir", str(tmp_path / "two"), *options]
    done = subprocess.run([*launcher, str(TOOLS / "train.py"), *two], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("learning rate 0.01 at batch 2 x 2 processes") == 1
    assert_equal(weights(tmp_path / "one" / "epoch_2.pth"), weights(tmp_path / "two" / "epoch_2.pth"), tolerance=1e-4)


def test_test_command_repeats_the_validation(uninterrupted: Path, tiny_config: Path, tmp_path: Path, capsys) -> None:
    argv = [str(tiny_config), str(uninterrupted / "epoch_3.pth"), "--work-dir", str(tmp_path / "t")]
    assert run("test", [*argv, "--out", str(tmp_path / "m.json")]) == 0
    assert "coco/bbox_mAP" in capsys.readouterr().out
    assert run("test", [*argv, "--out", str(tmp_path / "m.json")]) == 2
    assert "m.json" in capsys.readouterr().err


def test_progress_line_has_rate_and_time_left(tiny_config: Path, tmp_path: Path, capsys) -> None:
    began = time.perf_counter()
    assert run("train", [str(tiny_config), "--work-dir", str(tmp_path), "--cfg-options", "train_cfg.max_epochs=2"]) == 0
    took = time.perf_counter() - began
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    rate = float(lines[0].split(" it/s")[0].split()[-1])
    assert 4 / took < rate < 1000


def test_parameters_with_equal_options_share_a_group_and_learn_the_same() -> None:
    def steps(merge: bool) -> tuple[int, list[torch.Tensor]]:
        torch.manual_seed(0)
        parameters = [torch.nn.Parameter(torch.randn(3)) for _ in range(4)]
        decays = (0.0, 0.5, 0.0, 0.5)
        groups = [{"params": [p], "weight_decay": decay} for p, decay in zip(parameters, decays, strict=True)]
        optimizer = torch.optim.AdamW(groups, lr=0.1)
        if merge:
            merge_equal_groups(optimizer)
        for _ in range(3):
            sum((p**3).sum() for p in parameters).backward()
            optimizer.step()
        return len(optimizer.param_groups), [p.detach() for p in parameters]

    count, plain = steps(merge=False)
    merged_count, merged = steps(merge=True)
    assert (count, merged_count) == (4, 2)
    assert all(torch.equal(a, b) for a, b in zip(plain, merged, strict=True))
