from pathlib import Path

import pytest

from toolkit.config import load_config, shipped_configs
from toolkit.errors import UserError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


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
