"""A pass of a model over pictures and videos for `toolkit infer`: a detector's; other tasks change parts of it."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import UserError

if TYPE_CHECKING:
    from toolkit.data.inputs import Job
    from toolkit.detection.inferencer import Detector
    from toolkit.detection.results import Detections


class Run:
    """One pass of a model over inputs, with its options, results and what went wrong."""

    def __init__(self, model: "Detector", args: argparse.Namespace, classes: list[str] | None):
        self.model, self.classes = model, classes
        self.out: Path = args.out
        self.score_thr, self.batch_size, self.drawing = args.score_thr, args.batch_size, not args.no_draw
        self.broken: list[str] = []
        self.made = [folder for folder in (self.out, *self.out.parents) if not folder.exists()]
        self.out.mkdir(parents=True, exist_ok=True)
        self.writer = self._make_writer(self.out / "predictions.json")

    def _make_writer(self, path: Path) -> Any:
        from toolkit.detection.coco_writer import CocoWriter
        from toolkit.detection.results import categories

        return CocoWriter(path, categories(self.model.classes))

    def _summary(self) -> str:
        return f"{self.writer.annotations} objects"

    def _drawn_name(self, job: "Job") -> str:
        return job.drawn_name

    def over(self, jobs: list["Job"]) -> int:
        """Work through `jobs`; the exit code."""
        began = time.perf_counter()
        try:
            self._pictures([job for job in jobs if not job.is_video])
            for job in jobs:
                if job.is_video:
                    self._video(job)
            if self.writer.images == 0:
                raise UserError((f"none of {len(jobs)} inputs can be read: " if len(jobs) > 1 else "") + self.broken[0])
        except KeyboardInterrupt:
            self.writer.close()
            raise
        except Exception:  # half a JSON file helps nobody
            self._leave_nothing()
            raise
        self.writer.close()
        self._report(time.perf_counter() - began)
        return 1 if self.broken else 0

    def _leave_nothing(self) -> None:
        self.writer.discard()
        for folder in self.made:
            with suppress(OSError):  # it holds drawn pictures
                folder.rmdir()

    def _report(self, seconds: float) -> None:
        done = self.writer.images
        print(f"{done} pictures, {self._summary()} in {seconds:.1f} s ({done / seconds:.1f} pictures/s)")
        print(f"results: {self.writer.path}" + (f", drawn in {self.out}" if self.drawing else ""))
        if self.broken:
            lines = "\n".join(f"  {line}" for line in self.broken)
            print(f"{len(self.broken)} could not be read:\n{lines}", file=sys.stderr)

    def _found(self, sources: Iterable, progress: Any) -> "Iterator[Detections]":
        def note_broken(_: Any, error: UserError) -> None:
            self.broken.append(" ".join(str(error).split()))
            progress.update()

        for found in self._results(sources, note_broken):
            yield found
            progress.update()

    def _results(self, sources: Iterable, note_broken: Any) -> "Iterator[Detections]":
        for found in self.model.iter_predict(sources, self.batch_size, self.score_thr, self.drawing, note_broken):
            yield found.filter(classes=self.classes)

    def _pictures(self, jobs: list["Job"]) -> None:
        from toolkit.data.images import save_image

        by_source = {str(job.source): job for job in jobs}
        with _progress(len(jobs), "picture") as progress:
            for found in self._found([job.source for job in jobs], progress):
                job = by_source[found.path]
                self.writer.add(found, file_name=Path(job.name).as_posix())
                if self.drawing:
                    save_image(found.draw(), self.out / self._drawn_name(job))

    def _video(self, job: "Job") -> None:
        from toolkit.data.video import VideoReader, VideoWriter

        name, frame = Path(job.name).as_posix(), -1
        with (
            VideoReader(job.source) as reader,
            _progress(reader.count or None, "frame") as progress,
            VideoWriter(self.out / job.drawn_name, reader.rate) as video,
        ):
            for frame, found in enumerate(self._found(reader, progress)):
                entry = {"video": name, "frame": frame, "time": round(frame / reader.rate, 4)}
                self.writer.add(found, file_name=f"{name}#{frame:06d}", **entry)
                if self.drawing:
                    video.add(found.draw())
        if frame < 0:
            self.broken.append(f"{job.source} is not a video, or is damaged")


def _progress(total: int | None, unit: str) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit=unit, disable=None if total != 0 else True, file=sys.stderr)
