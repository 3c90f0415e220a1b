"""How plots are made: without a display, written whole, closed afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eugen_fields.writing import written_beside


def pyplot() -> Any:
    """matplotlib.pyplot, which draws into files alone."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


@contextlib.contextmanager
def drawing(
    path: Path, rows: int = 1, columns: int = 1, *, dpi: int = 150, **options: Any
) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes, an array (rows, columns), written to a PNG at the end of the block.

    Args:
        options: of pyplot.subplots, such as figsize and sharey.
    """
    plt = pyplot()
    figure, axes = plt.subplots(rows, columns, squeeze=False, layout="constrained", **options)
    yield figure, axes
    with written_beside(path) as unfinished:
        figure.savefig(unfinished, dpi=dpi)
    plt.close(figure)


def shared_legend(figure: Any, axes: Any, columns: int, size: int) -> None:
    """One legend below all panels, each label once.

    Args:
        axes: of the panels, an array.
        columns: of the legend; size: of its font, points.
    """
    handles: dict[str, Any] = {}
    for panel in axes.flat:
        for handle, label in zip(*panel.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(), handles.keys(), ncols=columns, fontsize=size, loc="outside lower center", frameon=False
    )
