"""Table and learning curves of `eugen-bench train`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

Run = dict[str, Any]


def seconds_to(run: Run, goal: float) -> float | None:
    """Seconds of training until the learning curve reaches a PSNR, on straight lines between its checkpoints; None
    where it never does."""
    before = {"seconds": 0.0, "psnr": -float("inf")}
    for point in run.get("curve", ()):
        if point["psnr"] >= goal:
            share = (goal - before["psnr"]) / (point["psnr"] - before["psnr"]) if before["seconds"] else 1.0
            return before["seconds"] + share * (point["seconds"] - before["seconds"])
        before = point
    return None


def goal_table(runs: list[Run], goal: float) -> str:
    """Seconds of training until the PSNR of the test views on the way reaches a goal; one row a method, options, budget
    and layer, the mean over the seeds that get there."""
    rows = [f"| method | budget | layer | s to {goal:g} dB | seeds that get there |", "|---|---|---|---|---|"]
    for (name, layer, _, _, budget), group in _groups(runs).items():
        found = [seconds for seconds in (seconds_to(run, goal) for run in group) if seconds is not None]
        mean = f"{sum(found) / len(found):.1f}" if found else "-"
        rows.append(f"| {name} | {budget} | {layer} | {mean} | {len(found)} of {len(group)} |")
    return "\n".join(rows)


def markdown_table(runs: list[Run]) -> str:
    """One row per method, options, budget, layer and learning rate: means over the seeds, and the spread of PSNR."""
    rows = [
        "| method | budget | layer | learning rate | seeds | PSNR (dB) | SSIM | parameters | bytes of replaced layers "
        "| bytes of the field | multiplications a sample | steps | s | steps/s | collapsed |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, layer, rate, _, budget), group in _groups(runs).items():
        mean = {name: _mean(group, name) for name in ("psnr", "ssim", "trained_steps", "train_seconds")}
        values = [run["psnr"] for run in group]
        spread = f" ({min(values):.2f} to {max(values):.2f})" if len(group) > 1 else ""
        if "psnr_by_scale" in group[0]:
            scales = [sum(values) / len(group) for values in zip(*(run["psnr_by_scale"] for run in group))]
            spread += "; by scale " + ", ".join(f"{value:.2f}" for value in scales)
        stored = f"{group[0]['stored_bytes']:,}" if "stored_bytes" in group[0] else "-"
        rows.append(
            f"| {name} | {budget} | {layer} | {rate:g} | {len(group)} | {mean['psnr']:.2f}{spread} "
            f"| {mean['ssim']:.4f} | {group[0]['parameters']:,} | {group[0]['layer_bytes']:,} | {stored} "
            f"| {group[0].get('multiplications', 0):,} | {mean['trained_steps']:.0f} | {mean['train_seconds']:.1f} "
            f"| {_mean(group, 'steps_per_second'):.2f} | {sum(run['collapsed'] for run in group)} of {len(group)} |"
        )
    return "\n".join(rows)


def draw(runs: list[Run], path: Path) -> bool:
    """PSNR along training against seconds and against steps, a row of panels for each budget; means over the seeds,
    and a band from the least to the largest. False, and nothing is drawn, where no run was measured on the way."""
    budgets: dict[str, dict[str, list[Run]]] = {}
    drawn = {key: group for key, group in _groups(runs).items() if all(run.get("curve") for run in group)}
    for (name, layer, rate, scene, budget), group in drawn.items():
        panel = budgets.setdefault(f"{name}, {Path(scene or '').name}, equal budget: {budget}", {})
        rates = {other[2] for other in drawn if other[1] == layer}
        panel[f"{layer}, rate {rate:g}" if len(rates) > 1 else layer] = group
    if not budgets:
        return False
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    labels = list(dict.fromkeys(label for groups in budgets.values() for label in groups))
    colors = {label: plt.get_cmap("tab20" if len(labels) > 10 else "tab10")(i % 20) for i, label in enumerate(labels)}
    figure, grid = plt.subplots(
        len(budgets), 2, figsize=(12, 4.6 * len(budgets)), sharey="row", squeeze=False, layout="constrained"
    )
    for panels, (title, groups) in zip(grid, budgets.items()):
        for axes, along in zip(panels, ("seconds", "steps")):
            for label, group in groups.items():
                _draw_curve(axes, group, along, colors[label], label)
            axes.set_xlabel("seconds of training" if along == "seconds" else "training steps")
            axes.set_title(textwrap.fill(title, 70), fontsize=10)
            axes.grid(alpha=0.3)
        panels[0].set_ylabel("PSNR of a few test views (dB)")
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), ncols=5, fontsize=9, loc="outside lower center", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return True


def _draw_curve(axes: Any, group: list[Run], along: str, color: Any, label: str) -> None:
    checkpoints = list(zip(*(run["curve"] for run in group)))  # those that all seeds came to
    places = [_mean(list(points), along) for points in checkpoints]
    axes.plot(places, [_mean(list(points), "psnr") for points in checkpoints], ".-", color=color, label=label)
    if len(group) > 1:
        low, high = ([choose(point["psnr"] for point in points) for points in checkpoints] for choose in (min, max))
        axes.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)


def _groups(runs: list[Run]) -> dict[tuple, list[Run]]:
    """Runs that differ in their seeds alone."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        name = " ".join([run["method"], *run.get("options", [])])
        seconds = run.get("seconds")
        budget = f"{run['trained_steps']:,} steps" if seconds is None else f"{seconds:g} s"
        groups.setdefault((name, run["layer"], run["learning_rate"], run.get("scene"), budget), []).append(run)
    return groups


def _mean(runs: list[dict[str, Any]], name: str) -> float:
    return sum(run[name] for run in runs) / len(runs)
