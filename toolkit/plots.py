"""Plots as PNG files, drawn without a screen and written whole or not at all."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@contextmanager
def png_figure(path: Path, width: float, height: float, dpi: int = 110, **options: Any) -> "Iterator[Figure]":
    """A figure to draw on, which is written to `path` when the block ends without an error.

    Args:
        path: the file; its folder is made.
        width, height: in inches.
        dpi: pixels of an inch.
        options: more of matplotlib's `Figure`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi, **{"layout": "constrained"} | options)
    FigureCanvasAgg(figure)
    yield figure
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})  # without it the same plot is the same bytes
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
