import pytest

from toolkit.config import check_types, config_from_text
from toolkit.errors import UserError
from toolkit.ops import load_mmdet


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
