"""The files that a command's arguments name, and the names that their results get."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.data.images import EXTENSIONS
from toolkit.errors import UserError

VIDEO_EXTENSIONS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")


@dataclass(frozen=True)
class Job:
    """One input file and the name, relative to OUT, that its result has."""

    source: Path
    name: str

    @property
    def is_video(self) -> bool:
        return self.source.suffix.lower() in VIDEO_EXTENSIONS

    @property
    def drawn_name(self) -> str:
        """The name of the drawn result: as the input's, with .mp4 for videos and .png where OpenCV cannot write."""
        if self.is_video:
            return str(Path(self.name).with_suffix(".mp4")) if self.source.suffix != ".mp4" else self.name
        return self.name if self.source.suffix.lower() in EXTENSIONS else self.name + ".png"


def _is_input(path: Path) -> bool:
    return path.suffix.lower() in (*EXTENSIONS, *VIDEO_EXTENSIONS) and path.is_file()


def _expand(name: str, out: Path) -> tuple[Path, list[Path]]:
    """(folder that result names are relative to, files) of one input argument."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path, _within(path, out)
    if path.is_file() and path.suffix.lower() == ".txt":
        files = list(_listed(path))
    elif path.exists():
        files = [path]
    elif glob.has_magic(name):
        files = [Path(file) for file in sorted(glob.glob(str(path), recursive=True)) if Path(file).is_file()]
    else:
        raise UserError(f"{name} does not exist")
    if not files:
        raise UserError(f"{name} {'lists no pictures' if path.exists() else 'matches no files'}")
    return Path(os.path.commonpath([os.path.abspath(file.parent) for file in files])), files


def _within(folder: Path, out: Path) -> list[Path]:
    """The pictures and videos below `folder`, without those that an earlier run drew into `out`."""
    files = [file for file in sorted(folder.rglob("*")) if _is_input(file)]
    if not folder.resolve().is_relative_to(out.resolve()):
        files = [file for file in files if not file.resolve().is_relative_to(out.resolve())]
    if not files:
        raise UserError(f"{folder} holds no pictures or videos")
    return files


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
