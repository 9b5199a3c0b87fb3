"""Results of pictures as a JSON file, entry by entry."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any


class ImageEntries:
    """Writes `{HEAD, "images": [...]}` as results come, so that a long video needs no memory; whole or not at all.

    Attributes:
        images: how many entries there are.

    Args:
        path: the file to make, once `close` is called.
        head: what stands before the entries.
    """

    def __init__(self, path: Path, **head: Any):
        self.path, self.images = path, 0
        self._part = path.with_name(path.name + ".part")
        self._file = self._part.open("w", encoding="utf-8")
        keys = "".join(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)},\n" for key, value in head.items())
        self._file.write(f'{{{keys}"images": [')

    def write(self, entry: dict[str, Any]) -> None:
        """Add one."""
        self._file.write(("\n" if self.images == 0 else ",\n") + json.dumps(entry, ensure_ascii=False))
        self.images += 1

    def close(self) -> None:
        """Finish the file under its name. Raises `OSError`; then nothing is left of it."""
        try:
            self._file.write("\n]}\n")
            self._file.close()
            self._part.replace(self.path)
        except OSError:
            self.discard()
            raise

    def discard(self) -> None:
        """Leave nothing of the file behind."""
        with suppress(OSError):  # closing writes what is buffered
            self._file.close()
        self._part.unlink(missing_ok=True)
