"""Table and plot of `eugen-bench synthetic`."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.figure import drawing
from eugen_fields.benchmark.common.markdown import table

KINDS = ("eugen", "snnk", "low-rank", "low-rank + activation")


def _range(runs: list[dict[str, Any]], name: str) -> tuple[float, float, float]:
    """Median, least and largest over the seeds: one seed that diverged shows, and does not move the median far."""
    values = [run[name] for run in runs]
    return statistics.median(values), min(values), max(values)


Groups = dict[tuple[str, str, str], list[dict[str, Any]]]


def _groups(runs: list[dict[str, Any]]) -> Groups:
    groups: Groups = {}
    for run in runs:
        groups.setdefault((run["activation"], run["start"], run["layer"]), []).append(run)
    return groups


def markdown_table(runs: list[dict[str, Any]]) -> str:
    """One row per activation and layer kind: median (least to largest) over the seeds."""
    heads = ("activation", "start", "layer", "learning rate", "parameters", "seeds", "relative error", "error / spread")
    rows = []
    for case, group in _groups(runs).items():
        relative, spread = _range(group, "relative_error"), _range(group, "spread_error")
        rows.append(
            (
                *case,
                f"{group[0]['learning_rate']:g}",
                f"{group[0]['parameters']:,}",
                str(len(group)),
                f"{relative[0]:.4f} ({relative[1]:.4f} to {relative[2]:.4f})",
                f"{spread[0]:.3f} ({spread[1]:.3f} to {spread[2]:.3f})",
                f"{_range(group, 'untrained_spread_error')[0]:.3f}",
                f"{_range(group, 'seconds')[0]:.1f}",
            )
        )
    return table((*heads, "before training", "s"), rows)


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Bars of the median error relative to the outputs' spread, one panel per start, and a dot for every seed."""
    groups = _groups(runs)
    activations = list(dict.fromkeys(activation for activation, _, _ in groups))
    starts = list(dict.fromkeys(start for _, start, _ in groups))
    with drawing(path, 1, len(starts), figsize=(5.5 * len(starts), 4), sharey=True) as (figure, panels):
        for start, axes in zip(starts, panels[0]):
            for index, kind in enumerate(KINDS):
                places = [place + (index - 1.5) * 0.21 for place in range(len(activations))]
                medians = [_range(groups[activation, start, kind], "spread_error")[0] for activation in activations]
                bars = axes.bar(places, medians, 0.2, label=kind)
                axes.bar_label(bars, fmt="%.2f", label_type="center", color="white", fontsize=8)
                for place, activation in zip(places, activations):
                    values = [run["spread_error"] for run in groups[activation, start, kind]]
                    axes.scatter([place] * len(values), values, s=12, color="black", linewidths=0, zorder=3)
            axes.axhline(1.0, color="black", linestyle="--", linewidth=1, label="best constant", zorder=2)
            axes.set_ylim(0.0, 1.25)
            axes.set_xticks(range(len(activations)), activations)
            axes.set_title("from a random start" if start == "random" else "from the closed-form fit", fontsize=10)
        panels[0][0].set_ylabel("test error / spread of the outputs")
        run = runs[0]
        figure.suptitle(
            f"Copies of a dense layer {run['width']}x{run['width']}, about {run['parameters']:,} parameters each, "
            f"{run['steps']:,} steps (bars: median, dots: seeds)",
            fontsize=10,
        )
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=5, fontsize=8, loc="outside lower center", frameon=False)
