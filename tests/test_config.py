from pathlib import Path

import pytest
from mmengine.registry import MODELS

from toolkit import config as configs
from toolkit.config import (
    check_types,
    config_errors,
    config_from_text,
    find_config,
    load_config,
    parse_options,
    shipped_configs,
    trace_reads,
)
from toolkit.errors import UserError
from toolkit.ops import load_mmdet


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_shipped_config_is_found_by_every_name():
    name, path = next(iter(shipped_configs().items()))
    for form in (name, f"{name}.py", name.rsplit("/", 1)[-1], f"configs/{name}.py", str(path)):
        assert find_config(form).resolve() == path.resolve()


def test_mmdet_configs_are_found():
    path = find_config("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py")
    assert path.is_file()
    assert find_config("retinanet_r50_fpn_1x_coco") == path


def test_a_wrong_name_gets_the_nearest_ones():
    name = next(iter(shipped_configs()))
    with pytest.raises(UserError, match=f"did you mean .*{name}"):
        find_config(name + "x")


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_every_shipped_config_loads(name: str):
    assert "model" in load_config(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb = dict(\n  c=3\n  d=4)\n", r"bad\.py:3: .*comma"),
        ("a = 1\nb = c + 1\n", r"bad\.py:2: NameError: name 'c' is not defined"),
        ("\n_base_ = ['./god.py']\n", r"bad\.py:2: _base_ './god.py' does not exist; did you mean 'good.py'"),
        ("_base_ = ['good.py']\nmodel = dict(a=1)\n", r"bad\.py: TypeError: model="),
        ("custom_imports = dict(imports=['no_such_module'])\n", r"bad\.py: custom_imports: .*no_such_module"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, message: str):
    write(tmp_path / "good.py", "model = 3\n")
    with pytest.raises(UserError, match=message):
        load_config(write(tmp_path / "bad.py", text))


def test_an_error_in_a_base_names_the_base(tmp_path: Path):
    write(tmp_path / "base.py", "x = 1\ny = (\n")
    with pytest.raises(UserError, match=r"base\.py:2"):
        load_config(write(tmp_path / "child.py", "_base_ = 'base.py'\n"))


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
    ("key", "value", "message"),
    [
        ("model.neck.type", "FPNN", "model.neck.type: 'FPNN' is not registered; did you mean .*'FPN'"),
        ("model.type", "fcos", "model.type: 'fcos' is not registered; did you mean 'FCOS'"),
        ("model.backbone.in_chanels", 3, "model.backbone.in_chanels: ResNet takes no .*did you mean 'in_channels'"),
        ("model.bbox_head.loss_cls.alfa", 1, "model.bbox_head.loss_cls.alfa: FocalLoss .*did you mean 'alpha'"),
        ("model.backbone.norm_cfg.type", "BNN", "model.backbone.norm_cfg.type: 'BNN' is not registered"),
        ("model.backbone.norm_cfg.epsilon", 1, "model.backbone.norm_cfg.epsilon: BatchNorm2d takes no 'epsilon'"),
        ("model.backbone.depth", 51, "model.backbone: ResNet: invalid depth 51"),
    ],
)
def test_what_cannot_be_built_is_named_by_its_key(tiny_config: Path, key: str, value: object, message: str):
    load_mmdet()
    config = load_config(tiny_config)
    config.merge_from_dict({key: value})
    for copied in (False, True):  # a Runner builds from a deep copy
        model = config.copy().model if copied else config.model
        with pytest.raises(UserError, match=message), config_errors(config):
            MODELS.build(model)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("depth", "model.backbone: ResNet needs 'depth'"),
        ("type", "model.backbone: has no 'type'"),
    ],
)
def test_what_is_missing_is_named(tiny_config: Path, gone: str, message: str):
    load_mmdet()
    config = load_config(tiny_config)
    del config.model.backbone[gone]
    with pytest.raises(UserError, match=message), config_errors(config):
        MODELS.build(config.model)


def test_errors_that_are_not_the_configs_pass_through():
    with pytest.raises(ZeroDivisionError), config_errors({"model": {}}):
        _ = 1 / 0


class Reader:
    """Registered below: reads `used` of its `options` and hands `inner` on to a registered part."""

    def __init__(self, options: dict, inner: dict, waiting: dict | None = None):
        self.value = options.get("used")
        self.inner = MODELS.build({**inner, "type": "ReaderPart"})
        self.waiting = waiting


class ReaderPart:
    def __init__(self, a: int):
        self.a = a


def test_unread_keys_are_listed_by_path(tmp_path: Path):
    MODELS.register_module(module=Reader, force=True)
    MODELS.register_module(module=ReaderPart, force=True)
    text = (
        "root = '/data'\nunused_variable = 1\n"
        "model = dict(type='Reader', options=dict(used=root, usde=2), inner=dict(a=1), waiting=dict(later=1))\n"
    )
    config = load_config(write(tmp_path / "c.py", text))
    with trace_reads(config) as unread:
        MODELS.build(config.copy().model)
        assert unread() == ["unused_variable", "model.options.usde"]
    assert configs.ConfigDict.__getitem__.__qualname__ == "ConfigDict.__getitem__"  # the tracer has gone


def test_config_text_is_parsed_and_not_run():
    config = config_from_text("model = dict(type='A', x=[1, (2, -3.5)], y=dict({'k': inf}))\nlr = 1e-3\n", "c.pth")
    assert config.model.x == [1, (2, -3.5)]
    assert config.model.y.k == float("inf")
    for code in ("x = __import__('os').system('true')", "import os", "x = [i for i in 'ab']", "x = open('f')"):
        with pytest.raises(UserError, match=r"c\.pth"):
            config_from_text(code, "c.pth")


def test_types_of_untrusted_configs_must_be_registered():
    load_mmdet()
    model = {"type": "mmdet.models.detectors.FCOS", "neck": {"type": "mmdet.FPN"}, "nms": {"type": "nms"}}
    check_types(model, "c.pth", "model")
    assert model["type"] == "FCOS"
    assert model["neck"]["type"] == "mmdet.FPN"
    for kind in ("os.system", "builtins.exec", "__import__('os').system('true')"):
        with pytest.raises(UserError, match=r"model\.nms\.type"):
            check_types({"type": "FCOS", "nms": {"type": kind}}, "c.pth", "model")
