"""Table and plot of `eugen-bench rivals`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.figure import drawing, pyplot, shared_legend
from eugen_fields.benchmark.common.markdown import spread, table

Run = dict[str, Any]
"""The entry of one trained method on one scene in the JSON file."""
NEEDED = ("scene", "method", "seed", "budget", "trained_steps", "psnr", "curve", "parameters")
"""What the table and the plot need of a run."""


def markdown_table(runs: list[Run]) -> str:
    """For each scene and budget a table: a row for each method, a column for each checkpoint, means over the seeds."""
    parts = []
    for (scene, budget), group in _grouped(runs, "scene", "budget").items():
        methods = _grouped(group, "method")
        points = max(len(run["curve"]) for run in group)
        times = [budget * (index + 1) / points for index in range(points)]
        rows = []
        for (method,), of_method in methods.items():
            cells = [_cell(of_method, time, budget / points) for time in times]
            steps = spread([run["trained_steps"] for run in of_method], 0)
            rows.append((method, f"{of_method[0]['parameters']:,}", steps, str(len(of_method)), *cells))
        heads = ("method", "parameters", "steps", "seeds", *(f"{time:g} s" for time in times))
        parts += [f"PSNR (dB), {scene}, {budget:g} seconds of training:", table(heads, rows)]
    return "\n\n".join(parts)


def _cell(runs: list[Run], time: float, between: float) -> str:
    """PSNR of the runs at a time: at their first checkpoint from then on, where it came before the next one was due."""
    found = []
    for run in runs:
        late = [point for point in run["curve"] if time - 1e-6 <= point["seconds"] < time + between]
        found += [late[0]["psnr"]] if late else []
    return spread(found, 2) if len(found) == len(runs) else ""


def _grouped(runs: list[Run], *names: str) -> dict[tuple[Any, ...], list[Run]]:
    """Runs by some of their entries, in the order in which each comes first."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run[name] for name in names), []).append(run)
    return groups


def draw(runs: list[Run], path: Path) -> None:
    """PSNR over seconds of training, a panel for each scene, a line for each run."""
    scenes = _grouped(runs, "scene")
    methods = {method: index for index, (method,) in enumerate(_grouped(runs, "method"))}
    with drawing(path, 1, len(scenes), figsize=(4.6 * len(scenes), 4.2)) as (figure, axes):
        for panel, ((scene,), group) in zip(axes.flat, scenes.items()):
            for run in group:
                color = pyplot().get_cmap("tab10")(methods[run["method"]] % 10)
                xs = [point["seconds"] for point in run["curve"]]
                panel.plot(xs, [point["psnr"] for point in run["curve"]], "o-", color=color, label=run["method"])
            panel.set_title(scene)
            panel.set_xlabel("seconds of training")
            panel.set_ylabel("PSNR (dB)")
            panel.grid(alpha=0.3)
        shared_legend(figure, axes, columns=3, size=8)
