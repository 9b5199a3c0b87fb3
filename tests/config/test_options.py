from pathlib import Path

import pytest

from toolkit.config import load_config, parse_options
from toolkit.errors import UserError


def test_options_are_parsed_as_python_values():
    options = ["a=1", "b=1e-3", "c=x", "d=[x,y]", "e=1,2", "f=(1,2)", "g={'k': [1]}", "h=None", "i=true", "j=a=b"]
    assert parse_options(options) == {
        "a": 1, "b": 1e-3, "c": "x", "d": ["x", "y"], "e": [1, 2], "f": (1, 2), "g": {"k": [1]}, "h": None, "i": True,
        "j": "a=b",
    }  # fmt: skip


def test_options_reach_into_dicts_and_lists(tiny_config: Path):
    options = ["model.neck.out_channels=7", "param_scheduler.1.T_max=5", "train_dataloader.dataset.metainfo.x=1"]
    config = load_config(tiny_config, [*options, "randomness.seed=3"])
    assert config.model.neck.out_channels == 7
    assert config.param_scheduler[1].T_max == 5
    assert config.train_dataloader.dataset.metainfo.x == 1
    assert config.randomness.seed == 3


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.bakbone.depth=3", "there is no 'model.bakbone'; did you mean 'model.backbone'"),
        ("trian_cfg.max_epochs=3", "no 'trian_cfg'; did you mean 'train_cfg'"),
        ("max_epochs=3", "no 'max_epochs'; did you mean 'train_cfg.max_epochs'"),
        ("param_scheduler.7.end=3", "param_scheduler is a list of 2"),
        ("model.neck.out_channels.x=3", "model.neck.out_channels is 16"),
        ("model.test_cfg.score_th=0.1", "did you mean 'model.test_cfg.score_thr'"),
        ("data_root=/x", r"already used; .*train_dataloader.dataset.data_root"),
        ("model", "KEY=VALUE"),
    ],
)
def test_options_that_would_change_nothing_are_refused(tiny_config: Path, option: str, message: str):
    with pytest.raises(UserError, match=message):
        load_config(tiny_config, [option])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dict(type='X', y=[1, 2.5])", {"type": "X", "y": [1, 2.5]}),
        ("[dict(type='X'),dict(type='Y')]", [{"type": "X"}, {"type": "Y"}]),
        ("x,1,true", ["x", 1, True]),
        ("[[a,b],(c,1)]", [["a", "b"], ("c", 1)]),
        ("[a.jpg]", ["a.jpg"]),
        ("photos/*.jpg", "photos/*.jpg"),
        ("inf", "inf"),
        ("'a,b'", "a,b"),
        ("[]", []),
        ("", ""),
    ],
)
def test_values_are_read_without_running_anything(text: str, value: object):
    assert parse_options([f"a.b={text}"]) == {"a.b": value}


@pytest.mark.parametrize("text", ["dict(type=X)", "dict(type='X'", "{type: X}", "[1,2", "dict(__import__('os'))"])
def test_values_with_open_brackets_or_bare_words_in_dicts_are_refused(text: str):
    with pytest.raises(UserError, match=r"--cfg-options a\.b=.*brackets must match"):
        parse_options([f"a.b={text}"])
