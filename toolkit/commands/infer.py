"""Find objects in pictures and videos, draw them, and write them as one COCO file."""

import argparse
import glob
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import UserError

if TYPE_CHECKING:
    from toolkit.detection.inferencer import Detector
    from toolkit.detection.results import Detections

EXAMPLES = """examples:
  python tools/infer.py yolo_ms_xs_80e_bccd best.pth photo.jpg -o out       a shipped config, its checkpoint, a picture
  python tools/infer.py best.pth photos/ -o out                             our checkpoints carry their config
  python tools/infer.py my_config.py best.pth 'photos/**/*.jpg' more.png list.txt -o out --score-thr 0.5
  python tools/infer.py best.pth clip.mp4 -o out --classes person,car --batch-size 4

Folders are searched through; a list (.txt) names one picture a line, relative to the list or to where you are.
OUT gets the drawn pictures and videos, in the folders of the inputs, and predictions.json in COCO format: images,
annotations with scores, categories. Frames of a video are images with file_name, video, frame and time (seconds).
Exit code 1 when some pictures could not be read; the others are done all the same.
"""

VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
DRAWN_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [CONFIG] CHECKPOINT INPUT [INPUT ...] -o OUT [options]",
    )
    parser.add_argument(
        "items",
        nargs="+",
        metavar="[CONFIG] CHECKPOINT INPUT",
        help="a config file or shipped name (our own checkpoints do without), a checkpoint, then pictures, folders, "
        "globs, lists (.txt) and videos",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--checkpoint", help="the checkpoint, where it does not stand before the inputs")
    parser.add_argument("--force", action="store_true", help="write into OUT although it holds files")
    parser.add_argument("--score-thr", type=float, default=0.3, help="least score of an object, 0 to 1 (default: 0.3)")
    parser.add_argument("--classes", help="only these classes, separated by commas")
    parser.add_argument("--batch-size", type=int, default=8, help="pictures at once (default: 8)")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: a GPU where there is one)")
    parser.add_argument("--no-draw", action="store_true", help="write only predictions.json")
    parser.add_argument(
        "--unsafe-checkpoint", action="store_true", help="load a checkpoint with code; trusted files only"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_intermixed_args(argv)
    if not 0 <= args.score_thr <= 1:
        raise UserError(f"--score-thr {args.score_thr}: give a number from 0 to 1")
    if args.batch_size < 1:
        raise UserError(f"--batch-size {args.batch_size}: give at least 1")
    config, checkpoint, names = split_items(args.items, args.checkpoint)
    jobs = find_jobs(names, args.out)
    check_folder(args.out, jobs, args.force, drawing=not args.no_draw)
    model = _load(config, checkpoint, args)
    classes = _chosen(args.classes, model)
    try:
        return Run(model, args, classes).over(jobs)
    except OSError as error:
        raise UserError(f"cannot write results to {args.out}: {error.strerror or error}") from error


def _load(config: str, checkpoint: str | None, args: argparse.Namespace) -> "Detector":
    from toolkit.inference import load_model

    return load_model(config, checkpoint, args.device, args.unsafe_checkpoint)


def _chosen(classes: str | None, model: "Detector") -> list[str] | None:
    if classes is None:
        return None
    from toolkit.detection.results import class_numbers

    names = [name.strip() for name in classes.split(",") if name.strip()]
    try:
        class_numbers(names, model.classes)
    except UserError as error:
        raise UserError(f"--classes: {error}") from None
    return names


# ------------------------------------------------------------------------------------------------------------ inputs


def split_items(items: list[str], checkpoint: str | None) -> tuple[str, str | None, list[str]]:
    """(config or checkpoint, checkpoint or None, inputs) of the positional arguments.

    Raises:
        UserError: there is no checkpoint, or no input.
    """
    from toolkit.config import CHECKPOINT_ENDINGS

    if checkpoint is not None or items[0].endswith(CHECKPOINT_ENDINGS):
        config, inputs = items[0], items[1:]
    elif len(items) > 1 and items[1].endswith(CHECKPOINT_ENDINGS):
        config, checkpoint, inputs = items[0], items[1], items[2:]
    else:
        raise UserError(
            f"no checkpoint: {items[0]!r} does not end in {', '.join(CHECKPOINT_ENDINGS)}, nor does what follows it; "
            "give [CONFIG] CHECKPOINT INPUT..., or --checkpoint FILE"
        )
    if not inputs:
        raise UserError("no input: give pictures, folders, globs, lists (.txt) or videos after the checkpoint")
    return config, checkpoint, inputs


@dataclass(frozen=True)
class Job:
    """One input file and the name, relative to OUT, that its result has."""

    source: Path
    name: str

    @property
    def is_video(self) -> bool:
        return self.source.suffix.lower() in VIDEO_ENDINGS

    @property
    def drawn_name(self) -> str:
        """The name of the drawn result: as the input's, with .mp4 for videos and .png where OpenCV cannot write."""
        if self.is_video:
            return str(Path(self.name).with_suffix(".mp4")) if self.source.suffix != ".mp4" else self.name
        return self.name if self.source.suffix.lower() in DRAWN_ENDINGS else self.name + ".png"


def _is_input(path: Path) -> bool:
    from toolkit.data.images import EXTENSIONS

    return path.suffix.lower() in (*EXTENSIONS, *VIDEO_ENDINGS)


def _expand(name: str, out: Path) -> tuple[Path, list[Path]]:
    """(folder that result names are relative to, files) of one input argument."""
    path = Path(name).expanduser()
    if path.is_dir():
        within = (file for file in sorted(path.rglob("*")) if file.is_file() and _is_input(file))
        results = None if path.resolve().is_relative_to(out.resolve()) else out.resolve()  # of an earlier run
        files = [file for file in within if results is None or not file.resolve().is_relative_to(results)]
        if not files:
            raise UserError(f"{name} holds no pictures or videos")
        return path, files
    if path.is_file() and path.suffix.lower() == ".txt":
        files = list(_listed(path))
        if not files:
            raise UserError(f"{name} lists no pictures")
        return Path(os.path.commonpath([os.path.abspath(file.parent) for file in files])), files
    if path.exists():
        return path.parent, [path]
    if glob.has_magic(name):
        files = [Path(file) for file in sorted(glob.glob(str(path), recursive=True)) if Path(file).is_file()]
        if not files:
            raise UserError(f"{name} matches no files")
        return Path(os.path.commonpath([os.path.abspath(file.parent) for file in files])), files
    raise UserError(f"{name} does not exist")


def _listed(path: Path) -> Iterator[Path]:
    """The files that a list names; those that do not exist come as they stand."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a list: give a text file with one picture a line") from None
    for line in lines:
        name = line.strip()
        if name and not name.startswith("#"):
            beside = path.parent / Path(name).expanduser()
            yield beside if beside.exists() else Path(name).expanduser()


def find_jobs(names: list[str], out: Path) -> list[Job]:
    """Every input file once, with a result name that no other has: its path below what all inputs have in common.

    Raises:
        UserError: an input does not exist, or holds nothing.
    """
    expanded = [_expand(name, out) for name in names]
    root = os.path.commonpath([os.path.abspath(folder) for folder, _ in expanded])
    jobs, taken = {}, set()
    for _, files in expanded:
        for file in files:
            place = os.path.abspath(file)
            if place in jobs:
                continue
            job = Job(file, os.path.relpath(place, root))
            if job.drawn_name.casefold() in taken:  # clip.avi beside clip.mp4
                job = Job(file, f"{job.name}{'.mp4' if job.is_video else '.png'}")
            taken.add(job.drawn_name.casefold())
            jobs[place] = job
    return list(jobs.values())


def check_folder(out: Path, jobs: list[Job], force: bool, drawing: bool) -> None:
    """See to it that no input and no earlier result is overwritten unasked.

    Raises:
        UserError: OUT is not a folder, holds files already, or drawing would overwrite an input.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder for the results")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise UserError(f"{out} holds files already; --force writes into it, or give another folder")
    inputs = {job.source.resolve() for job in jobs}
    clash = next((job for job in jobs if drawing and (out / job.drawn_name).resolve() in inputs), None)
    if clash is not None:
        raise UserError(f"drawing into {out} would overwrite the input {clash.source}; give another folder")


# ----------------------------------------------------------------------------------------------------------- results


class CocoWriter:
    """Writes predictions.json as results come, so that a long video needs no memory; whole or not at all."""

    def __init__(self, path: Path, categories: list[dict[str, Any]]):
        self.path = path
        self.images = self.annotations = 0
        self._part = path.with_name(path.name + ".part")
        self._file = self._part.open("w", encoding="utf-8")
        self._pending = tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent)  # noqa: SIM115 (closed in close)
        self._file.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)},\n"annotations": [')

    def add(self, found: "Detections", **image: Any) -> None:
        """Add one picture; `image` holds what its COCO entry has besides id, width and height."""
        self.images += 1
        entry = {"id": self.images, "height": found.size[0], "width": found.size[1], **image}
        self._pending.write(("" if self.images == 1 else ",\n") + json.dumps(entry, ensure_ascii=False))
        for annotation in found.to_coco(self.images, self.annotations + 1):
            self._file.write(("\n" if self.annotations == 0 else ",\n") + json.dumps(annotation))
            self.annotations += 1

    def close(self) -> None:
        """Finish the file under its name."""
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


class Run:
    """One pass of a model over inputs, with its options, results and what went wrong."""

    def __init__(self, model: "Detector", args: argparse.Namespace, classes: list[str] | None):
        from toolkit.detection.results import categories

        self.model, self.classes = model, classes
        self.out: Path = args.out
        self.score_thr, self.batch_size, self.drawing = args.score_thr, args.batch_size, not args.no_draw
        self.broken: list[str] = []
        self.out.mkdir(parents=True, exist_ok=True)
        self.writer = CocoWriter(self.out / "predictions.json", categories(model.classes))

    def over(self, jobs: list[Job]) -> int:
        """Work through `jobs`; the exit code."""
        began = time.perf_counter()
        try:
            self._pictures([job for job in jobs if not job.is_video])
            for job in jobs:
                if job.is_video:
                    self._video(job)
        except OSError:  # the disk is full: half a JSON file helps nobody
            self.writer.discard()
            raise
        except KeyboardInterrupt:
            self.writer.close()
            raise
        self.writer.close()
        seconds = time.perf_counter() - began
        done = self.writer.images
        print(
            f"{done} pictures, {self.writer.annotations} objects in {seconds:.1f} s ({done / seconds:.1f} pictures/s)"
        )
        print(f"results: {self.writer.path}" + (f", drawn in {self.out}" if self.drawing else ""))
        if self.broken:
            print(
                f"{len(self.broken)} could not be read:\n" + "\n".join(f"  {line}" for line in self.broken),
                file=sys.stderr,
            )
        return 1 if self.broken else 0

    def _note_broken(self, source: Any, error: UserError, progress: Any) -> None:
        line = " ".join(str(error).split())
        self.broken.append(line)
        progress.write(f"skipped: {line}", file=sys.stderr)
        progress.update()

    def _found(self, sources: Iterable, progress: Any) -> "Iterator[Detections]":
        results = self.model.iter_predict(
            sources,
            self.batch_size,
            self.score_thr,
            keep_images=self.drawing,
            on_error=lambda source, error: self._note_broken(source, error, progress),
        )
        for found in results:
            yield found.filter(classes=self.classes)
            progress.update()

    def _pictures(self, jobs: list[Job]) -> None:
        by_source = {str(job.source): job for job in jobs}
        with _progress(len(jobs), "picture") as progress:
            for found in self._found([job.source for job in jobs], progress):
                job = by_source[found.path]
                self.writer.add(found, file_name=Path(job.name).as_posix())
                if self.drawing:
                    save_image(found.draw(), self.out / job.drawn_name)

    def _video(self, job: Job) -> None:
        import cv2

        capture = cv2.VideoCapture(str(job.source))
        try:
            rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            name = Path(job.name).as_posix()
            with (
                _progress(max(count, 0) or None, "frame") as progress,
                VideoWriter(self.out / job.drawn_name, rate) as video,
            ):
                number = 0
                for number, found in enumerate(self._found(_frames(capture), progress), 1):
                    frame = number - 1
                    self.writer.add(
                        found, file_name=f"{name}#{frame:06d}", video=name, frame=frame, time=round(frame / rate, 4)
                    )
                    if self.drawing:
                        video.add(found.draw())
                if number == 0:
                    self._note_broken(job.source, UserError(f"{job.source} is not a video, or is damaged"), progress)
        finally:
            capture.release()


def _progress(total: int | None, unit: str) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit=unit, disable=None if total != 0 else True, file=sys.stderr)


def _frames(capture: Any) -> Iterator[Any]:
    while True:
        there, frame = capture.read()
        if not there:
            return
        yield frame


class VideoWriter:
    """Writes frames of one size as MP4; makes no file without frames."""

    def __init__(self, path: Path, rate: float):
        self.path, self.rate = path, rate
        self._writer: Any = None

    def __enter__(self) -> "VideoWriter":
        return self

    def add(self, frame: Any) -> None:
        """Append `frame` (H, W, 3) uint8 BGR."""
        import cv2

        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            size = (frame.shape[1], frame.shape[0])
            self._writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter_fourcc(*"mp4v"), self.rate, size)
            if not self._writer.isOpened():
                raise UserError(f"cannot write the video {self.path}")
        self._writer.write(frame)

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.release()


def save_image(image: Any, path: Path) -> None:
    """Write `image` (H, W, 3) uint8 BGR as the kind of file that the name's ending says.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    import cv2

    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise UserError(f"OpenCV cannot write {path.suffix} pictures")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_bytes(data.tobytes())
    except OSError:
        path.unlink(missing_ok=True)
        raise
