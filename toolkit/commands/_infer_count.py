"""Counting people for `toolkit infer --task count`, by density or by what a detector finds."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.commands._infer_run import Run
from toolkit.crowd.results import CountWriter, Crowd
from toolkit.data.inputs import Job
from toolkit.detection.results import Detections


def crowd_of(found: Detections) -> Crowd:
    """Each object a person, its point the centre of its box."""
    points = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    return Crowd(
        float(len(found)), points.astype(np.float32), tuple(found.size), None, found.boxes, found.path, found.image
    )


class CountRun(Run):
    """One pass of a counter, or of a detector as one, over inputs."""

    def _make_writer(self, path: Path) -> CountWriter:
        return CountWriter(path)

    def _summary(self) -> str:
        return f"{self.writer.total:.1f} people"

    def _drawn_name(self, job: Job) -> str:
        name = Path(job.drawn_name)
        return str(name) if name.suffix.lower() == ".png" else f"{name}.png"

    def _results(self, sources: Iterable, note_broken: Any) -> Iterator[Crowd]:
        if hasattr(self.model, "tiled"):
            yield from self.model.iter_predict(sources, self.drawing, note_broken)
        else:
            yield from map(crowd_of, super()._results(sources, note_broken))
