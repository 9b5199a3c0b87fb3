"""Files written whole or not at all: under another name in the same folder first, and renamed when complete."""

import os
import tempfile
from pathlib import Path

from toolkit.errors import UserError


def write_whole(data: bytes | memoryview, path: str | Path) -> None:
    """Write `data` to `path` so that the file is at any time either the old one or the new one, whole.

    Its folder is made.

    Raises:
        UserError: the disk is full or the folder cannot be written; the old file, if any, is as it was.
    """
    path = Path(path)
    temporary = None
    try:
        temporary = temporary_for(path)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        give_name(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}{unharmed(path)}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def temporary_for(path: Path) -> Path:
    """An empty file with a name of its own beside `path`, whose folder is made. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    return Path(name)


def give_name(temporary: Path, path: Path) -> None:
    """Turn the complete file that `temporary_for` named into `path`. Raises `OSError`."""
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)  # mkstemp's files are the owner's alone
    temporary.replace(path)


def unharmed(path: Path) -> str:
    """What the message of a failed write ends with: that an old file is still there, if one is."""
    return "; the file that was there is unharmed" if path.is_file() else ""
