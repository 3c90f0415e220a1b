"""Table and plot of `eugen-bench transfer --compare rivals`."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.figure import drawing
from eugen_fields.benchmark.common.markdown import spread, table

TEACHER = "trained run"
CLOSED_FORM = "shrunk in closed form"
FINE_TUNED = "shrunk and fine-tuned"
TRAINED = "narrow dense, trained on the images"
TRAINED_AS_LONG = "narrow dense, trained on the images for as many seconds"
DISTILLED = "narrow dense, distilled for as many steps"
DISTILLED_AS_LONG = "narrow dense, distilled for as many seconds"
VARIANTS = (CLOSED_FORM, FINE_TUNED, TRAINED, TRAINED_AS_LONG, DISTILLED, DISTILLED_AS_LONG)
"""In the order in which they are measured: those for as many seconds need the seconds of others."""

Rows = list[dict[str, Any]]


def markdown_table(rows: Rows) -> str:
    """One row for each budget and network, means over the seeds."""
    cells = []
    for budget in dict.fromkeys(row["budget"] for row in rows):
        for variant in (TEACHER, *VARIANTS):
            group = [row for row in rows if row["budget"] == budget and row["variant"] == variant]
            if group:
                cells.append(_cells(variant, group))
    heads = ("network", "multiplications", "bytes (float16)", "steps", "PSNR (dB)", "SSIM")
    return table((*heads, "seconds, those of the trained run left out"), cells)


def _cells(variant: str, group: Rows) -> tuple[str, ...]:
    sizes = [f"{max(row[name] for row in group):,}" for name in ("multiplications", "bytes")]
    steps = f"{statistics.mean(row['steps'] for row in group):,.0f}"
    seconds = "" if variant == TEACHER else f"{statistics.mean(row['seconds'] for row in group):.0f}"
    quality = spread([row["psnr"] for row in group], 2), f"{statistics.mean(row['ssim'] for row in group):.4f}"
    return _name(variant, group[0]), *sizes, steps, *quality, seconds


def _name(variant: str, row: dict[str, Any]) -> str:
    """What a network is, with its width or its replaced layers."""
    if "width" in row:
        return f"{variant}, {row['width']} wide"
    if "replace" in row:
        return f"{variant}, layers {' '.join(map(str, row['replace']))}, {row['features'] or ''} features".rstrip()
    return variant


def draw(rows: Rows, path: Path) -> None:
    """PSNR against multiplications: a line for each kind of network, a point for each seed."""
    with drawing(path, figsize=(6.4, 4.8)) as (figure, panels):
        axes = panels[0][0]
        for index, variant in enumerate(VARIANTS):
            points = sorted((row["multiplications"], row["psnr"]) for row in rows if row["variant"] == variant)
            if points:
                sizes = sorted({size for size, _ in points})
                means = [statistics.mean(psnr for size, psnr in points if size == chosen) for chosen in sizes]
                axes.plot(sizes, means, color=f"C{index}", linewidth=1)
                axes.plot(*zip(*points), "o", color=f"C{index}", markersize=5, label=variant)
        teacher = next(row for row in rows if row["variant"] == TEACHER)
        label = f"{TEACHER}, {teacher['multiplications']:,}"
        axes.axhline(teacher["psnr"], color="black", linestyle="--", linewidth=1, label=label)
        axes.set_xlabel("multiplications per sample, folded")
        axes.set_ylabel("PSNR over the test views (dB)")
        axes.grid(alpha=0.3)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, ncols=1, loc="outside lower center", frameon=False, fontsize=8)
