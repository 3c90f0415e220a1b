"""Table and plot of `eugen-bench transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.figure import drawing
from eugen_fields.benchmark.common.markdown import table

VARIANTS = ("closed form", "closed form + fine-tuning", "random start + fine-tuning")


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """One row for each variant, set of layers and number of features."""
    heads = ("layers", "features", "variant", "PSNR (dB)", "SSIM", "fit (s)", "fine-tuning (s)", "trunk parameters")
    cells = [
        (
            " ".join(map(str, row["replace"])) or "none",
            str(row["features"]),
            row["variant"],
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
    """PSNR against the number of features: one panel for each set of layers, one line for each variant."""
    teacher = next(row for row in rows if row["variant"] == "teacher")
    sets = list(dict.fromkeys(row["best"] for row in rows if row["variant"] != "teacher"))
    with drawing(path, 1, len(sets), figsize=(4.5 * len(sets), 4.4), sharey=True) as (figure, panels):
        for best, axes in zip(sets, panels[0]):
            for variant in VARIANTS:
                line = sorted(
                    (row["features"], row["psnr"]) for row in rows if row["best"] == best and row["variant"] == variant
                )
                axes.plot(*zip(*line), marker="o", label=variant)
            axes.axhline(teacher["psnr"], color="black", linestyle="--", linewidth=1, label="teacher")
            axes.set_xscale("log", base=2)
            ticks = sorted({row["features"] for row in rows if row["variant"] != "teacher"})
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.set_xlabel(f"features per layer (width {teacher['features']})")
            axes.set_title("all hidden layers" if best == 0 else f"the {best} layers that change the output least")
            axes.grid(alpha=0.3)
        panels[0][0].set_ylabel("PSNR over the test views (dB)")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=2, loc="outside lower center", frameon=False)
