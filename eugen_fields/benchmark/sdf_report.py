"""Table and plots of runs that learned signed distances from a depth stream.

A run is a dictionary with
    name: what is compared, such as the layer kind; runs of one name are its seeds;
    errors: of sdf_errors;
    mesh: of mesh_errors; optional;
    over_time: list of {"frame", "visible_cm"}, after some of the frames, at the points seen until then; optional;
    parameters, seconds: numbers; optional.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = dict[str, Any]

_COLUMNS: dict[str, Callable[[Run], float | None]] = {
    "visible (cm)": lambda run: run["errors"]["visible_cm"],
    "surface seen (cm)": lambda run: run["errors"].get("known_cm"),
    "on surfaces (cm)": lambda run: run["errors"]["surface_cm"],
    "gradient (1 - cos)": lambda run: run["errors"].get("gradient_cosine_distance"),
    "collision cost, 1 / 1.5 / 2 m (cm)": lambda run: None,
    "mesh accuracy (cm)": lambda run: run.get("mesh", {}).get("accuracy_cm"),
    "completion (cm)": lambda run: run.get("mesh", {}).get("completion_cm"),
    "Chamfer (cm)": lambda run: run.get("mesh", {}).get("chamfer_cm"),
    "within 5 cm": lambda run: run.get("mesh", {}).get("accurate_share"),
    "unseen share": lambda run: run.get("mesh", {}).get("unseen_share"),
}
_DIGITS = {"gradient (1 - cos)": 3, "within 5 cm": 3, "unseen share": 3}


def markdown_table(runs: list[Run]) -> str:
    """One row per name: means, and (least to largest) where there are several seeds. "-" is what was not measured."""
    heads = ["run", "seeds", "parameters", *_COLUMNS, "s"]
    rows = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, group in _groups(runs).items():
        parameters = group[0].get("parameters")
        cells = [name, str(len(group)), "-" if parameters is None else f"{parameters:,}"]
        for column, value in _COLUMNS.items():
            if column.startswith("collision"):
                costs = [run["errors"]["collision_cm"] for run in group]
                cells.append(" / ".join(f"{_mean([cost[safe] for cost in costs]):.2f}" for safe in costs[0]))
            else:
                cells.append(_cell([value(run) for run in group], _DIGITS.get(column, 2)))
        rows.append("| " + " | ".join([*cells, _cell([run.get("seconds") for run in group], 1)]) + " |")
    return "\n".join(rows)


def draw_errors(runs: list[Run], path: Path) -> None:
    """Two panels: the visible error over the frames (mean, and a band from least to largest over the seeds), and bars
    of the final error by true distance, with a dot for every seed. Not finite values are left out."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
    groups = _groups(runs)
    colors = {name: plt.get_cmap("tab10")(index % 10) for index, name in enumerate(groups)}
    for name, group in groups.items():
        series = [run["over_time"] for run in group if run.get("over_time")]
        shared = set.intersection(*({entry["frame"] for entry in entries} for entries in series)) if series else set()
        frames = sorted(shared)
        if not frames:
            continue
        at = [[entry["visible_cm"] for run in series for entry in run if entry["frame"] == frame] for frame in frames]
        left.plot(frames, [_mean(values) for values in at], color=colors[name], label=name, marker=".", markersize=5)
        if len(series) > 1:
            low, high = zip(*((min(values), max(values)) for values in at))
            left.fill_between(frames, low, high, color=colors[name], alpha=0.2, linewidth=0)
    left.set_xlabel("frame of the stream")
    left.set_ylabel("error where seen so far (cm)")
    left.set_title("Visible error along the stream", fontsize=11)
    left.set_ylim(bottom=0)
    left.grid(alpha=0.3)

    bins = runs[0]["errors"]["bins"]
    width = 0.82 / len(groups)
    for index, (name, group) in enumerate(groups.items()):
        places = [place + (index - (len(groups) - 1) / 2) * width for place in range(len(bins))]
        values = [[run["errors"]["bins"][place]["mean_cm"] for run in group] for place in range(len(bins))]
        bars = right.bar(places, [_mean(seeds) for seeds in values], 0.94 * width, color=colors[name], label=name)
        if len(groups) <= 4:
            right.bar_label(bars, fmt=lambda x: f"{x:.1f}" if math.isfinite(x) else "", fontsize=7, padding=2)
        if len(group) > 1:
            for place, seeds in zip(places, values):
                right.scatter([place] * len(seeds), seeds, s=8, color="black", linewidths=0, zorder=3)
    right.set_xticks(range(len(bins)), [f"{_bin_name(entry)}\n{entry['count']:,} points" for entry in bins], fontsize=8)
    right.set_xlabel("true distance to the nearest surface (m)")
    right.set_ylabel("mean error (cm)")
    right.set_title("Error at the end, by distance", fontsize=11)
    right.grid(axis="y", alpha=0.3)
    right.set_axisbelow(True)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, ncols=min(6, len(labels)), fontsize=9, loc="outside lower center", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _groups(runs: list[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run["name"], []).append(run)
    return groups


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _cell(values: list[float | None], digits: int) -> str:
    present = [value for value in values if value is not None]
    if not present:
        return "-"
    spread = f" ({min(present):.{digits}f} to {max(present):.{digits}f})" if len(present) > 1 else ""
    return f"{_mean(present):.{digits}f}{spread}"


def _bin_name(entry: dict[str, Any]) -> str:
    high = entry["high_m"]
    return f"over {entry['low_m']:g}" if high is None else f"{entry['low_m']:g} to {high:g}"
