from pathlib import Path

import pytest

from toolkit.config import check_top_keys, load_config
from toolkit.errors import UserError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(("key", "meant"), [("optim_wraper", "optim_wrapper"), ("default_hoks", "default_hooks")])
def test_misspelt_keys_of_the_runner_are_refused(tmp_path: Path, key: str, meant: str):
    write(tmp_path / "base.py", "default_hooks = dict()\n")
    config = load_config(write(tmp_path / "c.py", f"_base_ = 'base.py'\n{key} = dict()\n"))
    with pytest.raises(UserError, match=f"{key} is read by nothing; did you mean '{meant}'"):
        check_top_keys(config, "train")


def test_other_keys_are_listed_unless_the_files_use_them(tiny_config: Path, tmp_path: Path):
    lines = "lr = 1\nunused = 2\nsync_bn = 'torch'\noptim_wrapper = dict(optimizer=dict(lr=lr))\n"
    config = load_config(write(tmp_path / "c.py", f"_base_ = '{tiny_config}'\n{lines}"))
    assert check_top_keys(config, "train") == ["unused"]


@pytest.mark.parametrize(
    ("gone", "purpose"),
    [
        ("model", "test"),
        ("optim_wrapper", "train"),
        ("train_dataloader", "train"),
        ("val_evaluator", "train"),
        ("test_cfg", "test"),
    ],
)
def test_a_missing_part_is_named(tiny_config: Path, gone: str, purpose: str):
    config = load_config(tiny_config)
    config.pop(gone)
    with pytest.raises(UserError, match=f"has no '{gone}', which a {purpose} run needs"):
        check_top_keys(config, purpose)


def test_a_run_needs_no_more_than_its_own_parts(tiny_config: Path):
    config = load_config(tiny_config)
    for key in ("val_dataloader", "val_cfg", "val_evaluator", "test_dataloader"):
        config.pop(key)
    check_top_keys(config, "train")
