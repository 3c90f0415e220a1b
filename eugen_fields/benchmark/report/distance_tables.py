"""Tables of the report about distances and meshes, each from the document of one JSON file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eugen_fields.benchmark.common.markdown import spread, table
from eugen_fields.benchmark.mesh.mesh import markdown_table

Document = dict[str, Any]


def distances(document: Document) -> str:
    """One row per network, and one for TSDF fusion."""
    names, rows = document["report"]["names"], []
    for name, title in [*list(names.items())[1:], next(iter(names.items()))]:  # TSDF fusion comes last
        runs = [run for run in document["runs"] if run["name"] == name]

        def cell(value: Callable[[dict[str, Any]], float], digits: int, runs: list = runs) -> str:
            return spread([value(run) for run in runs], digits)

        sizes = [f"{runs[0][size]:,}" if size in runs[0] else "" for size in ("parameters", "multiplications")]
        errors = [cell(lambda run, key=key: run["errors"][key], 2) for key in ("visible_cm", "known_cm", "surface_cm")]
        far = [cell(lambda run, place=place: run["errors"]["bins"][place]["mean_cm"], 1) for place in (3, 4)]
        mesh = [sum(run["mesh"][key] for run in runs) / len(runs) for key in ("accuracy_cm", "completion_cm")]
        seconds = cell(lambda run: run["seconds"], 0)
        rows.append((title, *sizes, *errors, *far, f"{mesh[0]:.2f} / {mesh[1]:.2f}", seconds))
    heads = ("hidden layers", "parameters", "multiplications per point", "all points", "nearest surface seen")
    heads += ("on surfaces", "0.5 to 1 m away", "beyond 1 m", "mesh accuracy / completion")
    return table((*heads, "seconds"), rows)


def mapping_speed(document: Document) -> str:
    """One row per network: milliseconds of a step and of a query."""
    names, ratios, rows = document["report"]["names"], document["ratios"], []
    for run in document["runs"]:
        times = [f"{run['ms'][what]['median']:.1f}" for what in ("step", "query")]
        kind = run["kind"]
        rows.append((names[kind], *times, *(f"{ratios[f'{what}.{kind}']:.2f}" for what in ("step", "query"))))
    heads = ("hidden layers", "step (ms)", "query of 100,000 points (ms)")
    return table((*heads, "dense / this: step", "query"), rows)


def meshes(document: Document) -> str:
    """One row per run."""
    return markdown_table(document["runs"])
