"""What comparisons have in common: the file for single figures, the folder for results, names beside points."""

import argparse
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import UserError
from toolkit.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a plot as PNG, whole or not at all."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    write_whole(picture.getvalue(), path)


def label_points(
    axes: "Axes", points: Mapping[str, tuple[float, float]], others: Sequence[tuple[float, float]] = ()
) -> None:
    """Write a name at each point, as near to it as no other name or point is in the way, with a line where it is far.

    To be called last: limits, scales and legend of `axes` must stay as they are then.

    Args:
        axes: where the points are drawn already.
        points: name: (x, y), in the units of the data.
        others: points without names that must not be written on either.
    """
    from matplotlib.transforms import Bbox

    axes.figure.canvas.draw()  # sizes are known from here on
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform([*points.values(), *others])]
    if axes.get_legend():
        taken.append(axes.get_legend().get_window_extent())
    places = [
        (distance * x, distance * y, side)
        for distance in (6, 14, 24, 36, 50, 66)
        for x, y, side in ((1, 0.5, "left"), (-1, 0.5, "right"), (1, -0.9, "left"), (-1, -0.9, "right"),
                           (0, 1, "center"), (0, -1.4, "center"))
    ]  # fmt: skip
    for name, point in points.items():
        crowding = {}
        for x, y, side in places:
            label = axes.annotate(name, point, (x, y), textcoords="offset points", fontsize=7, ha=side, va="center")
            box = label.get_window_extent()
            inside = axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1 and axes.bbox.y0 < box.y0 and box.y1 < axes.bbox.y1
            crowding[x, y, side] = sum(box.overlaps(other) for other in taken) + 10 * (not inside)
            label.remove()
            if not crowding[x, y, side]:
                break
        x, y, side = min(crowding, key=crowding.get)
        line = dict(arrowstyle="-", color="0.6", linewidth=0.5, shrinkA=0, shrinkB=3) if abs(x) + abs(y) > 20 else None
        label = axes.annotate(
            name, point, (x, y), textcoords="offset points", fontsize=7, ha=side, va="center", arrowprops=line
        )
        taken.append(label.get_window_extent())
