"""Plot of `eugen-bench frontier`."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.figure import drawing, pyplot, shared_legend
from eugen_fields.benchmark.quality.frontier.frontier_contestants import NETWORKS, RIVALS, Family
from eugen_fields.benchmark.quality.frontier.frontier_verdict import COSTS, Point, Run, by_setting, points
from eugen_fields.benchmark.quality.scenes.scenes_report import by_scene

_COSTS = ("multiplications", "compact_bytes")


def draw(runs: list[Run], path: Path) -> bool:
    """PSNR against multiplications and against bytes, two rows of panels for each setting and a column for each scene:
    a mark at the mean over the seeds that did not collapse, with a line from the least to the largest, and a cross at
    the bottom where some did. False, and nothing is drawn, without runs."""
    settings = {setting: by_scene(group) for setting, group in by_setting(runs).items()}
    if not settings:
        return False
    columns = max(map(len, settings.values()))
    rows = [(scenes, cost) for scenes in settings.values() for cost in _COSTS]
    if columns == 1:  # side by side what would be below each other
        shape, size = (len(settings), len(_COSTS)), (10.5, 1.6 + 3.8 * len(settings))
    else:
        shape, size = (len(rows), columns), (max(10.5, 3.6 * columns), 1.6 + 3.3 * len(rows))
    with drawing(path, *shape, figsize=size) as (figure, grid):
        for axes in grid.flat:
            axes.set_visible(False)
        for row, (scenes, cost) in enumerate(rows):
            for column, (scene, group) in enumerate(scenes.items()):
                axes = grid[divmod(row, len(_COSTS))] if columns == 1 else grid[row, column]
                axes.set_visible(True)
                _draw_panel(axes, points(group, cost), group)
                axes.set_title(f"{scene}, {group[0]['trained_steps']:,} steps", fontsize=10)
                axes.set_xlabel(COSTS[cost], fontsize=9)
                if column == 0:
                    axes.set_ylabel("PSNR (dB)", fontsize=9)
        shared_legend(figure, grid, columns=4, size=9)
    return True


def _draw_panel(axes: Any, of: list[Point], runs: list[Run]) -> None:
    healthy = [run["psnr"] for run in runs if not run["collapsed"]]
    bottom = min(healthy, default=0.0) - 0.4
    families = dict.fromkeys(network.family for network in NETWORKS.values())
    for family in families:
        group = [point for point in of if point.network.family == family]
        if group:
            _draw_family(axes, family, group, bottom)
    if any(point.fast for point in of):
        axes.plot([], [], "o", color="black", markerfacecolor="white", label="with fast Hadamard transforms")
    if len(healthy) < len(runs):
        axes.plot([], [], "x", color="black", label="collapsed")
    if healthy:
        axes.set_ylim(bottom, max(healthy) + 0.4)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(_ticker().LogLocator(subs=(1, 1.5, 2, 3, 4, 6, 8)))
    axes.xaxis.set_major_formatter(lambda cost, _: f"{cost / 1000:g}k")
    axes.xaxis.set_minor_locator(_ticker().NullLocator())
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def _draw_family(axes: Any, family: Family, group: list[Point], bottom: float) -> None:
    color, shown = pyplot().get_cmap("tab10")(family.color), []
    for point in group:
        values = [run["psnr"] for run in point.runs if not run["collapsed"]]
        if point.collapsed:
            axes.plot(point.cost, bottom, "x", color=color, markersize=8, clip_on=False)
        if values:
            mean, face = statistics.mean(values), "white" if point.fast else color
            axes.plot([point.cost] * 2, [min(values), max(values)], color=color, linewidth=1.2)
            axes.plot(point.cost, mean, family.marker, color=color, markerfacecolor=face, markersize=6)
            shown.append((point.cost, mean))
    width = 2.0 if family in RIVALS else 1.0
    style = {"color": color, "linewidth": width, "linestyle": family.line or "none"}
    axes.plot(*(zip(*shown) if shown else ((), ())), **style)
    axes.plot([], [], marker=family.marker, label=family.title, **style)


def _ticker() -> Any:
    from matplotlib import ticker

    return ticker
