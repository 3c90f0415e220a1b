"""Table and learning curves of `eugen-bench train`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.figure import drawing, pyplot, shared_legend
from eugen_fields.benchmark.common.markdown import spread, table

Score = dict[str, Any]
"""The entry of one trained network in the JSON file."""


def seconds_to(run: Score, goal: float) -> float | None:
    """Seconds of training until the learning curve reaches a PSNR, on straight lines between its checkpoints; None
    where it never does."""
    before = {"seconds": 0.0, "psnr": -float("inf")}
    for point in run.get("curve", ()):
        if point["psnr"] >= goal:
            share = (goal - before["psnr"]) / (point["psnr"] - before["psnr"]) if before["seconds"] else 1.0
            return before["seconds"] + share * (point["seconds"] - before["seconds"])
        before = point
    return None


def goal_table(runs: list[Score], goal: float) -> str:
    """Seconds of training until the PSNR of the test views on the way reaches a goal; one row for each method,
    options, budget and layer, the mean over the seeds that get there."""
    rows = []
    for (name, layer, _, _, budget), group in grouped(runs).items():
        reached = [seconds for seconds in (seconds_to(run, goal) for run in group) if seconds is not None]
        seconds = f"{sum(reached) / len(reached):.1f}" if reached else "-"
        rows.append((name, budget, layer, seconds, f"{len(reached)} of {len(group)}"))
    return table(("method", "budget", "layer", f"s to {goal:g} dB", "seeds that get there"), rows)


def markdown_table(runs: list[Score]) -> str:
    """One row per method, options, budget, layer and learning rate: means over the seeds, and the spread of PSNR."""
    heads = ("method", "budget", "layer", "learning rate", "seeds", "PSNR (dB)", "SSIM", "parameters")
    heads += ("bytes of replaced layers", "bytes of the field", "multiplications per sample", "steps", "s", "steps/s")
    rows = []
    for (name, layer, rate, _, budget), group in grouped(runs).items():
        quality = spread([run["psnr"] for run in group], 2)
        if "psnr_by_scale" in group[0]:
            scales = [sum(values) / len(group) for values in zip(*(run["psnr_by_scale"] for run in group))]
            quality += "; by scale " + ", ".join(f"{value:.2f}" for value in scales)
        rows.append(
            (
                name,
                budget,
                layer,
                f"{rate:g}",
                str(len(group)),
                quality,
                f"{mean(group, 'ssim'):.4f}",
                f"{group[0]['parameters']:,}",
                f"{group[0]['layer_bytes']:,}",
                f"{group[0]['stored_bytes']:,}" if "stored_bytes" in group[0] else "-",
                f"{group[0].get('multiplications', 0):,}",
                f"{mean(group, 'trained_steps'):.0f}",
                f"{mean(group, 'train_seconds'):.1f}",
                f"{mean(group, 'steps_per_second'):.2f}",
                f"{sum(run['collapsed'] for run in group)} of {len(group)}",
            )
        )
    return table((*heads, "collapsed"), rows)


def draw(runs: list[Score], path: Path) -> bool:
    """PSNR along training against seconds and against steps, a row of panels for each budget; means over the seeds,
    and a band from the least to the largest. False, and nothing is drawn, where no run was measured on the way."""
    budgets: dict[str, dict[str, list[Score]]] = {}
    drawn = {key: group for key, group in grouped(runs).items() if all(run.get("curve") for run in group)}
    for (name, layer, rate, scene, budget), group in drawn.items():
        panel = budgets.setdefault(f"{name}, {Path(scene or '').name}, equal budget: {budget}", {})
        rates = {other[2] for other in drawn if other[1] == layer}
        panel[f"{layer}, rate {rate:g}" if len(rates) > 1 else layer] = group
    if not budgets:
        return False
    labels = list(dict.fromkeys(label for groups in budgets.values() for label in groups))
    scale = pyplot().get_cmap("tab20" if len(labels) > 10 else "tab10")
    colors = {label: scale(i % 20) for i, label in enumerate(labels)}
    with drawing(path, len(budgets), 2, figsize=(12, 4.6 * len(budgets)), sharey="row") as (figure, grid):
        for panels, (title, groups) in zip(grid, budgets.items()):
            for axes, along in zip(panels, ("seconds", "steps")):
                for label, group in groups.items():
                    _draw_curve(axes, group, along, colors[label], label)
                axes.set_xlabel("seconds of training" if along == "seconds" else "training steps")
                axes.set_title(textwrap.fill(title, 70), fontsize=10)
                axes.grid(alpha=0.3)
            panels[0].set_ylabel("PSNR of a few test views (dB)")
        shared_legend(figure, grid, columns=5, size=9)
    return True


def _draw_curve(axes: Any, group: list[Score], along: str, color: Any, label: str) -> None:
    checkpoints = list(zip(*(run["curve"] for run in group)))  # those that all seeds came to
    places = [mean(list(points), along) for points in checkpoints]
    axes.plot(places, [mean(list(points), "psnr") for points in checkpoints], ".-", color=color, label=label)
    if len(group) > 1:
        low, high = ([choose(point["psnr"] for point in points) for points in checkpoints] for choose in (min, max))
        axes.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)


def grouped(runs: list[Score]) -> dict[tuple, list[Score]]:
    """Runs that differ in their seeds alone."""
    found: dict[tuple, list[Score]] = {}
    for run in runs:
        name = " ".join([run["method"], *run.get("options", [])])
        seconds = run.get("seconds")
        budget = f"{run['trained_steps']:,} steps" if seconds is None else f"{seconds:g} s"
        found.setdefault((name, run["layer"], run["learning_rate"], run.get("scene"), budget), []).append(run)
    return found


def mean(runs: list[dict[str, Any]], name: str) -> float:
    return sum(run[name] for run in runs) / len(runs)
