"""Segmentation for `toolkit infer`: masks to train on, pictures and videos in the classes' colours, areas."""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit.commands._infer_run import Run
from toolkit.data.image_entries import ImageEntries
from toolkit.data.inputs import Job, check_folder
from toolkit.errors import UserError
from toolkit.segmentation.inferencer import Segmenter, check_tile
from toolkit.segmentation.results import Segmentation

OVERLAYS, MASKS = "overlays", "masks"


class AreasWriter(ImageEntries):
    """Writes areas.json, and masks beside it.

    A mask has its picture's name with .png, where `FolderSegmentation` looks for it. Where a folder has a.jpg beside
    a.png, the second one's is a.png.png. Frames of videos get no masks.
    """

    def __init__(self, path: Path, classes: tuple[str, ...]):
        super().__init__(path, classes=classes)
        self._masks: set[str] = set()

    def add(self, found: Segmentation, **image: Any) -> None:
        """Add one picture: its size, and pixels and share of the picture of each class that occurs."""
        if "video" not in image:
            image["mask"] = self._save_mask(found, image["file_name"])
        height, width = found.size
        pixels = {name: count for name, count in found.areas.items() if count}
        share = {name: round(count / (height * width), 6) for name, count in pixels.items()}
        self.write({**image, "height": height, "width": width, "pixels": pixels, "share": share})

    def _save_mask(self, found: Segmentation, picture: str) -> str:
        name = mask_name(picture)
        if name in self._masks:
            name = f"{picture}.png"
        self._masks.add(name)
        found.save_mask(self.path.parent / MASKS / name)
        return f"{MASKS}/{name}"


def mask_name(picture: str) -> str:
    """The name of a picture's mask below the folder of masks."""
    return Path(picture).with_suffix(".png").as_posix()


class SegmentRun(Run):
    """One pass of a segmentor over inputs."""

    def __init__(self, model: Segmenter, args: argparse.Namespace, jobs: list[Job]):
        if args.classes is not None:
            raise UserError("--classes is for detectors; a segmentor gives every pixel one of its classes")
        check_tile(args.tile)
        masks = [replace(job, name=f"{MASKS}/{mask_name(job.name)}") for job in jobs if not job.is_video]
        drawn = [replace(job, name=self._drawn_name(job)) for job in jobs if not job.is_video]
        check_folder(args.out, masks + drawn, force=True, drawing=True)
        self.tile = args.tile
        super().__init__(model, args, None)

    def _make_writer(self, path: Path) -> AreasWriter:
        return AreasWriter(path.with_name("areas.json"), self.model.classes)

    def _summary(self) -> str:
        return f"masks of {len(self.model.classes)} classes"

    def _drawn_name(self, job: Job) -> str:
        name = job.drawn_name
        return f"{OVERLAYS}/{name if name.lower().endswith('.png') else f'{name}.png'}"

    def _results(self, sources: Iterable, note_broken: Any) -> Iterator[Segmentation]:
        return self.model.iter_predict(sources, self.batch_size, self.tile, self.drawing, note_broken)
