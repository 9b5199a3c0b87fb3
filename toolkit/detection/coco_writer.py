"""Detections written as a COCO file while they come."""

import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolkit.detection.results import Detections


class CocoWriter:
    """Writes a COCO file as results come, so that a long video needs no memory; whole or not at all.

    Args:
        path: the file to make, once `close` is called.
        categories: COCO's list of them.
    """

    def __init__(self, path: Path, categories: list[dict[str, Any]]):
        self.path = path
        self.images = self.annotations = 0
        self._part = path.with_name(path.name + ".part")
        self._file = self._part.open("w", encoding="utf-8")
        self._pending = tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent)  # noqa: SIM115 (closed in close)
        self._file.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)},\n"annotations": [')

    def add(self, found: Detections, **image: Any) -> None:
        """Add one picture; `image` holds what its COCO entry has besides id, width and height."""
        self.images += 1
        entry = {"id": self.images, "height": found.size[0], "width": found.size[1], **image}
        self._pending.write(("" if self.images == 1 else ",\n") + json.dumps(entry, ensure_ascii=False))
        for annotation in found.to_coco(self.images, self.annotations + 1):
            self._file.write(("\n" if self.annotations == 0 else ",\n") + json.dumps(annotation))
            self.annotations += 1

    def close(self) -> None:
        """Finish the file under its name.

        Raises:
            OSError: it could not be written; nothing is left of it.
        """
        try:
            self._file.write('],\n"images": [\n')
            self._pending.seek(0)
            shutil.copyfileobj(self._pending, self._file)
            self._file.write("]}\n")
            self._file.close()
            self._part.replace(self.path)
            self._pending.close()
        except OSError:
            self.discard()
            raise

    def discard(self) -> None:
        """Leave nothing behind."""
        for file in (self._file, self._pending):
            with suppress(OSError):  # closing writes what is buffered
                file.close()
        self._part.unlink(missing_ok=True)
