"""Table and plot of `eugen-bench scenes`."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.figure import drawing, pyplot
from eugen_fields.benchmark.common.markdown import table

Run = dict[str, Any]
"""The entry of one trained network on one scene in the JSON file."""
Groups = dict[Any, list[Run]]


def markdown_table(runs: list[Run]) -> str:
    """A table for each budget and size of images: one row per scene, a column for each network, means over the seeds.

    Its last rows are means over the scenes that all networks were trained on, runs that collapsed, and seconds.
    """
    parts = []
    for title, group in by_setting(runs).items():
        parts += [f"PSNR (dB), {title}:", _one_table(group)]
    return "\n\n".join(parts)


def by_setting(runs: list[Run]) -> Groups:
    """Runs of one budget, by its description."""
    return grouped(
        runs, lambda run: " ".join([f"{run['trained_steps']:,} steps, images {run['width']} wide", *run["options"]])
    )


def by_network(runs: list[Run]) -> Groups:
    """Runs by their layers, with the method where there are several."""
    several = len({run["method"] for run in runs}) > 1
    return grouped(runs, lambda run: f"{run['method']}, {run['layer']}" if several else run["layer"])


def by_scene(runs: list[Run]) -> Groups:
    """Runs by their scene."""
    return grouped(runs, lambda run: run["scene"])


def grouped(runs: list[Run], key: Any) -> Groups:
    """Runs by a key, in the order in which each key comes first."""
    groups: Groups = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def _one_table(runs: list[Run]) -> str:
    scenes = by_scene(runs)
    networks = {name: by_scene(group) for name, group in by_network(runs).items()}
    rows = []
    for scene, group in scenes.items():
        cells = [_cell(of_network[scene]) if scene in of_network else "" for of_network in networks.values()]
        rows.append((scene, f"{_mean(group, 'empty_psnr'):.2f}", *cells))
    shared = [scene for scene in scenes if all(scene in of_network for of_network in networks.values())]
    if shared:
        means = [
            statistics.mean(_mean(groups[scene], name) for scene in shared)
            for groups, name in ((scenes, "empty_psnr"), *((groups, "psnr") for groups in networks.values()))
        ]
        title = "mean" if len(shared) == len(scenes) else "mean of scenes with all networks"
        rows.append((title, *(f"{mean:.2f}" for mean in means)))
    every = [[run for group in of_network.values() for run in group] for of_network in networks.values()]
    rows.append(("mean SSIM", "", *(f"{_mean(group, 'ssim'):.4f}" for group in every)))
    rows.append(("collapsed", "", *(f"{sum(run['collapsed'] for run in group)} of {len(group)}" for group in every)))
    if any(run["recoveries"] for run in runs):
        rows.append(("recoveries", "", *(str(sum(run["recoveries"] for run in group)) for group in every)))
    rows.append(("seconds of a training", "", *(f"{_mean(group, 'train_seconds'):.1f}" for group in every)))
    return table(("scene", "background alone", *networks), rows)


def _cell(runs: list[Run]) -> str:
    """The mean PSNR over seeds, and how many of them collapsed."""
    mean, collapsed = f"{_mean(runs, 'psnr'):.2f}", sum(run["collapsed"] for run in runs)
    return f"{mean} ({collapsed} of {len(runs)} collapsed)" if collapsed else mean


def _mean(runs: list[Run], name: str) -> float:
    return statistics.mean(run[name] for run in runs)


def draw(runs: list[Run], path: Path) -> None:
    """PSNR of every scene and network, a panel for each budget: a dot at the mean over the seeds, a line from the least
    to the largest, a cross for each run that collapsed, and a black mark for the background alone."""
    settings = by_setting(runs)
    most = max(len(by_scene(group)) for group in settings.values())
    size = (7.5 * len(settings), 1.8 + 0.42 * most)
    with drawing(path, 1, len(settings), figsize=size) as (_, (panels,)):
        for axes, (title, group) in zip(panels, settings.items()):
            _draw_panel(axes, group)
            axes.set_title(title, fontsize=10)


def _draw_panel(axes: Any, runs: list[Run]) -> None:
    scenes, networks = by_scene(runs), by_network(runs)
    for index, (name, group) in enumerate(networks.items()):
        color = pyplot().get_cmap("tab10")(index % 10)
        shift = 0.6 * ((index + 0.5) / len(networks) - 0.5)
        label = name
        for row, scene in enumerate(scenes):
            of_scene = [run for run in group if run["scene"] == scene]
            values = [run["psnr"] for run in of_scene]
            if values:
                axes.plot([min(values), max(values)], [row + shift] * 2, color=color, linewidth=1.5)
                axes.plot(statistics.mean(values), row + shift, "o", color=color, markersize=5, label=label)
                label = None
            lost = [run["psnr"] for run in of_scene if run["collapsed"]]
            axes.plot(lost, [row + shift] * len(lost), "x", color="black", markersize=8)
    for row, group in enumerate(scenes.values()):
        empty = _mean(group, "empty_psnr")
        axes.plot([empty, empty], [row - 0.35, row + 0.35], color="black", linewidth=2)
    axes.plot([], [], "x", color="black", label="collapsed")
    axes.plot([], [], "|", color="black", markersize=12, markeredgewidth=2, label="background alone")
    axes.set_yticks(range(len(scenes)), list(scenes))
    axes.invert_yaxis()
    axes.set_xlabel("PSNR over the test views (dB)")
    axes.grid(alpha=0.3)
    axes.legend(ncols=1, fontsize=8)
