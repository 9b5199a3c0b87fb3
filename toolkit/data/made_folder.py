"""Folders of made data, which appear only when they are complete."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import UserError


@contextmanager
def made_folder(out: Path, kind: str, marks: Iterable[str], force: bool) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `out` when the block ends without an error.

    Args:
        out: folder to make.
        kind: what it will hold, for messages.
        marks: what an earlier folder of this kind has in it.
        force: replace an earlier folder of this kind.

    Raises:
        UserError: `out` exists and is not to be replaced, is something else, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a folder to make")
    if out.exists() and any(out.iterdir()):
        if not all((out / mark).exists() for mark in marks):
            raise UserError(f"{out} holds something other than {kind}; name a new folder")
        if not force:
            raise UserError(f"{out} exists already; name another folder or replace it with --force")
    partial = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
