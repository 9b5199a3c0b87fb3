"""Pictures in one folder for each class."""

from pathlib import Path

from toolkit.data.images import pictures_below
from toolkit.errors import UserError


def find_classes(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each class below `folder`: classes and pictures by name, folders in a class's own searched too.

    Folders whose names begin with a dot are left out.

    Raises:
        UserError: there is no such folder, it has fewer than two folders, or one of them has no pictures.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; give one with a folder of pictures for each class, see data/README.md"
        )
    found = {
        path.name: pictures_below(path)
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }
    if len(found) < 2:
        raise UserError(
            f"{folder}: has {len(found)} folders; it needs a folder of pictures for each class, two classes at least"
        )
    for name, files in found.items():
        if not files:
            raise UserError(f"{folder / name}: no pictures in this folder of a class")
    return found
