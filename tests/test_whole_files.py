"""A file is at any time the old one or the new one."""

from pathlib import Path

import pytest

from toolkit.errors import UserError
from toolkit.files import write_whole


def test_files_have_the_usual_permissions(tmp_path: Path):
    (tmp_path / "plain").write_bytes(b"x")
    write_whole(b"x", tmp_path / "new" / "whole")
    assert (tmp_path / "new" / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "new" / "whole").read_bytes() == b"x"


def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*folder: Is a directory$"):
        write_whole(b"x", tmp_path / "folder")
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(UserError, match=r"cannot write .*table.csv: "):
        write_whole(b"x", tmp_path / "file" / "table.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "file"}
    assert (tmp_path / "file").read_bytes() == b"old"
