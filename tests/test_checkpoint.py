import builtins
import errno
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.fileio.backends import registry_utils
from mmengine.fileio.io import backend_instances
from mmengine.logging import HistoryBuffer
from mmengine.runner import (
    CheckpointLoader,
)
from mmengine.runner import (
    load_checkpoint as load_with_mmengine,
)
from mmengine.runner import (
    save_checkpoint as save_with_mmengine,
)
from torch import nn

from toolkit import files
from toolkit.checkpoint import guard_runner, load_checkpoint, load_into, save_checkpoint
from toolkit.errors import UserError


class Code:
    """Pickles into a call of os.system that makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


class Lookup:
    """Pickles into a getattr that a safe loader must not make."""

    def __reduce__(self):
        return getattr, (torch.Tensor, "add_")


class Head(nn.Module):
    def __init__(self, num_classes: int, anchors: int = 3):
        super().__init__()
        self.num_classes = num_classes
        self.body = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.cls = nn.Conv2d(4, anchors * num_classes, 1)


@pytest.fixture
def guarded():
    saved = dict(CheckpointLoader._schemes), dict(registry_utils.backends), dict(registry_utils.prefix_to_backends)
    yield guard_runner
    CheckpointLoader._schemes = saved[0]
    for registered, before in zip((registry_utils.backends, registry_utils.prefix_to_backends), saved[1:], strict=True):
        registered.clear()
        registered.update(before)
    backend_instances.clear()


def test_everything_that_mmengine_stores_comes_back(tmp_path: Path):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    stored = {
        "meta": {"epoch": 3, "dataset_meta": {"classes": ("a", "b"), "palette": [(1, 2, 3)]}},
        "state_dict": nn.Linear(2, 2).state_dict(),
        "message_hub": {"log_scalars": {"loss": history}},
        "random": np.random.RandomState(0).get_state(),
        "scalar": np.float32(0.5),
        "integers": np.arange(3, dtype=np.uint16),
    }
    for legacy in (True, False):
        torch.save(stored, tmp_path / "c.pth", _use_new_zipfile_serialization=not legacy)
        loaded = load_checkpoint(tmp_path / "c.pth")
        assert loaded["meta"] == stored["meta"]
        assert loaded["message_hub"]["log_scalars"]["loss"].mean() == history.mean()
        assert (loaded["random"][1] == stored["random"][1]).all()
        assert loaded["scalar"] == np.float32(0.5)
        assert loaded["integers"].tolist() == [0, 1, 2]
        assert all(torch.equal(loaded["state_dict"][key], value) for key, value in stored["state_dict"].items())


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_refused_and_never_run(tmp_path: Path, legacy: bool):
    file, mark = tmp_path / "evil.pth", tmp_path / "mark"
    torch.save({"state_dict": Code(mark)}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match=r"evil\.pth holds Python code .*system.*--unsafe-checkpoint"):
        load_checkpoint(file)
    assert not mark.exists()
    load_checkpoint(file, unsafe=True)
    assert mark.exists()


def test_attributes_cannot_be_looked_up(tmp_path: Path):
    torch.save({"state_dict": Lookup()}, tmp_path / "c.pth")
    with pytest.raises(UserError, match="getattr"):
        load_checkpoint(tmp_path / "c.pth")


def test_a_whole_pickled_model_is_refused_by_name(tmp_path: Path):
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear"):
        load_checkpoint(tmp_path / "model.pth")


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_files_are_called_damaged(tmp_path: Path, kept: float, legacy: bool):
    file = tmp_path / "c.pth"
    torch.save({"state_dict": nn.Linear(64, 64).state_dict()}, file, _use_new_zipfile_serialization=not legacy)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(UserError, match="empty" if kept == 0 else "damaged or cut short"):
        load_checkpoint(file)


def test_other_files_are_no_checkpoints(tmp_path: Path):
    (tmp_path / "page.pth").write_text("<html>not found</html>" * 50)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": 1}))
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("page.pth", "plain.pth", "list.pth"):
        with pytest.raises(UserError, match=f"{name} is not a checkpoint"):
            load_checkpoint(tmp_path / name)
    with pytest.raises(UserError, match="does not exist"):
        load_checkpoint(tmp_path / "no.pth")
    with pytest.raises(UserError, match="is a folder"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "wrap", [lambda s: {"state_dict": s}, lambda s: {f"module.{k}": v for k, v in s.items()}, dict]
)
def test_weights_are_found_in_every_wrapping(tmp_path: Path, wrap: Any):
    torch.manual_seed(0)
    source, target = Head(2), Head(2)
    torch.save(wrap(source.state_dict()), tmp_path / "c.pth")
    loaded = load_into(target, tmp_path / "c.pth")
    assert loaded.missing == loaded.unexpected == []
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_averaged_weights_are_what_inference_gets(tmp_path: Path):
    averaged, raw, target = Head(2), Head(2), Head(2)
    ema = {f"module.{key}": value for key, value in raw.state_dict().items()}
    torch.save({"state_dict": averaged.state_dict(), "ema_state_dict": ema}, tmp_path / "c.pth")
    load_into(target, tmp_path / "c.pth")
    assert torch.equal(target.body.weight, averaged.body.weight)


def test_another_class_count_is_said_in_classes(tmp_path: Path):
    meta = {"dataset_meta": {"classes": tuple(f"thing{i}" for i in range(80))}}
    torch.save({"state_dict": Head(80).state_dict(), "meta": meta}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"the checkpoint has 80 classes \(thing0, .*\), the config 3"):
        load_into(Head(3), tmp_path / "c.pth")


def test_another_model_is_said_with_counts_and_examples(tmp_path: Path):
    torch.save({"state_dict": nn.Sequential(nn.Linear(2, 2)).state_dict()}, tmp_path / "c.pth")
    target = Head(2)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(UserError, match=r"0 of the model's 9 tensors match; 8 are missing \(body\.weight.*0\.weight"):
        load_into(target, tmp_path / "c.pth", strict=False)
    assert all(torch.equal(before[key], value) for key, value in target.state_dict().items())


def test_not_strict_loads_what_fits(tmp_path: Path):
    source, target = Head(80), Head(3)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "c.pth")
    loaded = load_into(target, tmp_path / "c.pth", strict=False)
    assert torch.equal(target.body.weight, source.body.weight)
    assert loaded.missing == ["cls.weight", "cls.bias"]


def fill_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let every file that is opened for writing fail after `after` bytes."""
    real_open = builtins.open

    def limited_open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        opened = real_open(file, mode, *args, **kwargs)
        if "w" in mode:
            write = opened.write

            class Limited:
                def __getattr__(self, name: str) -> Any:
                    return getattr(opened, name)

                def __enter__(self) -> "Limited":
                    return self

                def __exit__(self, *_: object) -> None:
                    opened.close()

                def write(self, data: Any) -> None:
                    write(bytes(data)[:after])
                    raise OSError(errno.ENOSPC, "No space left on device")

            return Limited()
        return opened

    monkeypatch.setattr(files, "open", limited_open, raising=False)


@pytest.mark.parametrize("through_mmengine", [False, True])
def test_a_full_disk_leaves_the_old_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarded: Any, through_mmengine: bool
):
    guarded()
    file = tmp_path / "last.pth"
    save = save_with_mmengine if through_mmengine else save_checkpoint
    save({"state_dict": {"a": torch.ones(1000)}}, str(file))
    old = file.read_bytes()
    fill_disk(monkeypatch, after=100)
    with pytest.raises(UserError, match=r"last\.pth: No space left on device; the file that was there is unharmed"):
        save({"state_dict": {"a": torch.zeros(1000)}}, str(file))
    assert file.read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["last.pth"]


def test_mmengine_loads_safely_once_guarded(tmp_path: Path, guarded: Any):
    mark = tmp_path / "mark"
    torch.save({"state_dict": Code(mark)}, tmp_path / "evil.pth")
    guarded()
    with pytest.raises(UserError, match="refused"):
        load_with_mmengine(nn.Linear(2, 2), str(tmp_path / "evil.pth"))
    assert not mark.exists()
