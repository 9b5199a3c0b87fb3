from pathlib import Path

from mmengine.config import ConfigDict
from mmengine.registry import MODELS

from toolkit.config import load_config, trace_reads


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
    path = tmp_path / "c.py"
    path.write_text(text)
    config = load_config(path)
    with trace_reads(config) as unread:
        MODELS.build(config.copy().model)
        assert unread() == ["unused_variable", "model.options.usde"]
    assert ConfigDict.__getitem__.__qualname__ == "ConfigDict.__getitem__"  # the tracer has gone
