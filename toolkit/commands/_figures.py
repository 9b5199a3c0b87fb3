"""The file for single figures that comparisons have in common: its options, its check, and how it is written."""

import argparse
import csv
import io
from collections.abc import Iterable
from pathlib import Path

from toolkit.errors import UserError
from toolkit.files import write_whole


def add_options(parser: argparse.ArgumentParser) -> None:
    """--out and --force."""
    parser.add_argument("-o", "--out", type=Path, help="write every single figure to this CSV file")
    parser.add_argument("--force", action="store_true", help="overwrite the file that --out names")


def check_out(args: argparse.Namespace) -> None:
    """See to it, before the work, that nothing is overwritten unasked.

    Raises:
        UserError: it would be.
    """
    if args.out and args.out.exists() and not args.force:
        raise UserError(f"{args.out}: exists already; --force overwrites it")


def write_figures(path: Path, head: Iterable[str], rows: Iterable[Iterable]) -> None:
    """Write a CSV file, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows(rows)
    write_whole(text.getvalue().encode(), path)
