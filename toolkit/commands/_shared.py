"""What several commands share: options and their checks, the file for single figures."""

import argparse
import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from toolkit.errors import UserError
from toolkit.files import write_whole


def add_options(parser: argparse.ArgumentParser) -> None:
    """--out and --force."""
    parser.add_argument("-o", "--out", type=Path, help="write every single figure to this CSV file")
    parser.add_argument("--force", action="store_true", help="overwrite the file that --out names")


def add_set_options(parser: argparse.ArgumentParser, train: int, val: int, size: int) -> None:
    """What commands that make a set of pictures are told, with these defaults."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument("--train", type=int, default=train, help=f"number of training pictures ({train})")
    parser.add_argument("--val", type=int, default=val, help=f"number of validation pictures ({val})")
    parser.add_argument("--size", type=int, default=size, help=f"side of the pictures in pixels ({size})")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same pictures (0)")
    parser.add_argument("--force", action="store_true", help="replace an earlier set at OUT")


def add_timing_options(parser: argparse.ArgumentParser, out: str, repeats: int) -> None:
    """What commands that time networks are told, with these defaults; OUT is a folder."""
    parser.add_argument("-o", "--out", type=Path, default=Path(out), help="folder for results (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"rounds (default: {repeats})")
    parser.add_argument("--device", help="cpu or cuda (default: a GPU where there is one)")
    parser.add_argument("--force", action="store_true", help="replace earlier results in OUT")


def check_least(args: argparse.Namespace, **least: int) -> None:
    """Raise a `UserError` where an option of whole numbers is below what `least` says for it."""
    for option, value in least.items():
        if getattr(args, option) < value:
            raise UserError(f"--{option} must be at least {value}, got {getattr(args, option)}")


def check_out(args: argparse.Namespace) -> None:
    """See to it, before the work, that nothing is overwritten unasked.

    Raises:
        UserError: it would be.
    """
    if args.out and args.out.exists() and not args.force:
        raise UserError(f"{args.out}: exists already; --force overwrites it")


def check_free(out: Path, names: Sequence[str], force: bool) -> None:
    """See to it, before the work, that no earlier result in a folder is overwritten unasked.

    Raises:
        UserError: `out` is a file, or holds one of `names`.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder for the results")
    there = [name for name in names if (out / name).exists()]
    if there and not force:
        raise UserError(f"{out / there[0]} exists already; --force replaces it, or give another folder")


def write_figures(path: Path, head: Iterable[str], rows: Iterable[Iterable]) -> None:
    """Write a CSV file, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows(rows)
    write_whole(text.getvalue().encode(), path)


def apart(function: Callable, *args: Any, preload: Sequence[str] = ()) -> Any:
    """What `function`, of the top level of a module, gives for `args` in a new process.

    Memory on a CPU is measured that way: it means nothing where the same ran before. The process keeps freed memory as
    commands do.

    Args:
        preload: modules that are imported once for all calls, where the system can. Not for work on a GPU: what is
            forked after them cannot use CUDA.

    Raises:
        UserError: the process was killed.
    """
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_all_start_methods, get_context

    from toolkit.cli import keep_freed_memory

    context = get_context("forkserver" if preload and "forkserver" in get_all_start_methods() else "spawn")
    if preload and context.get_start_method() == "forkserver":
        context.set_forkserver_preload(list(preload))
    try:
        with ProcessPoolExecutor(1, context, initializer=keep_freed_memory) as pool:
            return pool.submit(function, *args).result()
    except BrokenProcessPool as error:
        raise UserError(
            "the process that measures memory was ended from outside, probably for lack of memory; give smaller sizes"
        ) from error
