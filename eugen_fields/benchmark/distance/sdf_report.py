"""Table and plots of maps that learned signed distances from a depth stream.

A map is a dictionary with
    name: what is compared, such as the layer kind; maps of one name are its seeds;
    errors: of sdf_errors;
    mesh: of mesh_errors; optional;
    over_time: list of {"frame", "visible_cm", "known_cm"}, after some of the frames, at the points seen until then,
        and at those of them whose nearest surface was; optional, and so is known_cm;
    parameters, seconds: numbers; optional.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.figure import drawing, pyplot
from eugen_fields.benchmark.common.markdown import table

MapErrors = dict[str, Any]
"""The entry of one map in the JSON file."""

_COLUMNS: dict[str, Callable[[MapErrors], float | None]] = {
    "visible (cm)": lambda run: run["errors"]["visible_cm"],
    "nearest surface seen (cm)": lambda run: run["errors"].get("known_cm"),
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


def markdown_table(runs: list[MapErrors]) -> str:
    """One row per name: means, and (least to largest) where there are several seeds. "-" is what was not measured."""
    heads = ["run", "seeds", "parameters", *_COLUMNS, "s"]
    rows = []
    for name, group in _groups(runs).items():
        parameters = group[0].get("parameters")
        cells = [name, str(len(group)), "-" if parameters is None else f"{parameters:,}"]
        for column, value in _COLUMNS.items():
            if column.startswith("collision"):
                costs = [run["errors"]["collision_cm"] for run in group]
                cells.append(" / ".join(f"{_mean([cost[safe] for cost in costs]):.2f}" for safe in costs[0]))
            else:
                cells.append(_cell([value(run) for run in group], _DIGITS.get(column, 2)))
        rows.append([*cells, _cell([run.get("seconds") for run in group], 1)])
    return table(heads, rows)


def draw_errors(runs: list[MapErrors], path: Path) -> None:
    """Two panels: the error over the frames (means and, over the seeds, a band from least to largest), and bars of the
    final error by true distance with a dot for every seed.

    Full colour is for points whose nearest surface was seen too; what is measured at all points is dashed and pale.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    groups = _groups(runs)
    colors = {name: pyplot().get_cmap("tab10")(index % 10) for index, name in enumerate(groups)}
    with drawing(path, 1, 2, figsize=(12, 4.6)) as (figure, ((left, right),)):
        for name, group in groups.items():
            for key, style in (("visible_cm", "--"), ("known_cm", "-")):
                _draw_series(left, group, key, style, colors[name])
        left.set(xlabel="frame of the stream", ylabel="mean error where seen so far (cm)", ylim=(0, None))
        left.set_title("Error along the stream", fontsize=11)
        left.grid(alpha=0.3)

        bins = runs[0]["errors"]["bins"]
        width = 0.84 / len(groups)
        for index, (name, group) in enumerate(groups.items()):
            _draw_bins(right, group, (index - (len(groups) - 1) / 2) * width, width, colors[name])
        counts = [f"{entry['count']:,} points" for entry in bins]
        right.set_xticks(
            range(len(bins)), [f"{_bin_name(entry)}\n{count}" for entry, count in zip(bins, counts)], fontsize=8
        )
        right.set(xlabel="true distance to the nearest surface (m)", ylabel="mean error (cm)", ylim=(0, None))
        right.set_title("Error at the end, by distance", fontsize=11)
        right.grid(axis="y", alpha=0.3)
        right.set_axisbelow(True)
        patches = [Patch(color=color, label=name) for name, color in colors.items()]
        lines = [Line2D([], [], color="black", label="points whose nearest surface was seen")]
        lines += [Line2D([], [], color="black", linestyle="--", alpha=0.6, label="all seen points (pale bars)")]
        figure.legend(handles=patches + lines, ncols=min(4, len(patches) + 2), fontsize=9, loc="outside lower center")


def _draw_series(axes: Any, group: list[MapErrors], key: str, style: str, color: Any) -> None:
    """One line over the frames that all runs of a group have."""
    series = [{entry["frame"]: entry.get(key) for entry in run.get("over_time", ())} for run in group]
    frames = sorted(frame for frame in series[0] if all(run.get(frame) is not None for run in series))
    at = [[run[frame] for run in series] for frame in frames]
    pale = 0.6 if style == "--" else 1.0
    axes.plot(frames, [_mean(values) for values in at], style, color=color, marker=".", markersize=5, alpha=pale)
    if len(series) > 1 and frames:
        least, largest = [min(values) for values in at], [max(values) for values in at]
        axes.fill_between(frames, least, largest, color=color, alpha=0.2 * pale, linewidth=0)


def _draw_bins(axes: Any, group: list[MapErrors], offset: float, width: float, color: Any) -> None:
    """The bars of one group beside the middles of the bins."""
    for place, entries in enumerate(zip(*(run["errors"]["bins"] for run in group))):
        middle = place + offset
        axes.bar(middle, _mean([entry["mean_cm"] for entry in entries]), 0.92 * width, color=color, alpha=0.25)
        known = [entry["known_cm"] for entry in entries if "known_cm" in entry]
        if known and math.isfinite(_mean(known)):
            axes.bar(middle, _mean(known), 0.92 * width, color=color)
            place_of_text = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center"}
            axes.annotate(f"{_mean(known):.1f}", (middle, max(known)), fontsize=7, **place_of_text)
            if len(known) > 1:
                axes.scatter([middle] * len(known), known, s=7, color="black", linewidths=0, zorder=3)


def _groups(runs: list[MapErrors]) -> dict[str, list[MapErrors]]:
    groups: dict[str, list[MapErrors]] = {}
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
