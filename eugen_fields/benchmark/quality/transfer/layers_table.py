"""Table and plot of `eugen-bench transfer --compare layers`."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.figure import drawing
from eugen_fields.benchmark.common.markdown import table

TEACHER = "teacher"
CLOSED_FORM = "closed form"
RANDOM_START = "random start + fine-tuning"
VARIANTS = (CLOSED_FORM, "closed form + fine-tuning", RANDOM_START)


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """One row for each variant, set of layers, number of features and seed."""
    heads = (
        "layers",
        "features",
        "variant",
        "seed",
        "PSNR (dB)",
        "SSIM",
        "fit (s)",
        "fine-tuning (s)",
        "trunk parameters",
    )
    cells = [
        (
            " ".join(map(str, row["replace"])) or "none",
            str(row["features"]),
            row["variant"],
            str(row["seed"]),
            f"{row['psnr']:.2f}",
            f"{row['ssim']:.4f}",
            f"{row['fit_seconds']:.1f}",
            f"{row['finetune_seconds']:.1f}",
            f"{row['trunk_parameters']:,}",
            f"{row['trunk_multiplications']:,}",
        )
        for row in rows
    ]
    return table((*heads, "multiplications, folded"), cells)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """PSNR against the number of features, means over the seeds: one panel for each set of layers, one line for each
    variant."""
    teacher = next(row for row in rows if row["variant"] == TEACHER)
    students = [row for row in rows if row["variant"] != TEACHER]
    sets = list(dict.fromkeys(row["best"] for row in students))
    with drawing(path, 1, len(sets), figsize=(4.5 * len(sets), 4.4), sharey=True) as (figure, panels):
        for best, axes in zip(sets, panels[0]):
            for variant in VARIANTS:
                found: dict[int, list[float]] = {}
                for row in students:
                    if row["best"] == best and row["variant"] == variant:
                        found.setdefault(row["features"], []).append(row["psnr"])
                sizes = sorted(found)
                axes.plot(sizes, [statistics.mean(found[size]) for size in sizes], marker="o", label=variant)
            axes.axhline(teacher["psnr"], color="black", linestyle="--", linewidth=1, label="teacher")
            axes.set_xscale("log", base=2)
            ticks = sorted({row["features"] for row in students})
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.set_xlabel(f"features per layer (width {teacher['features']})")
            axes.set_title("all hidden layers" if best == 0 else f"the {best} layers that change the output least")
            axes.grid(alpha=0.3)
        panels[0][0].set_ylabel("PSNR over the test views (dB)")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=2, loc="outside lower center", frameon=False)
