"""Table, answer and plot of `eugen-bench size`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.figure import drawing, pyplot
from eugen_fields.benchmark.common.markdown import table

Row = dict[str, Any]


def reference(rows: list[Row]) -> Row:
    """The dense network that the others are held against: the first row, or the float32 one of its network."""
    same = [row for row in rows if row["layer"] == rows[0]["layer"]]
    return next((row for row in same if row["format"] == "float32"), same[0])


def smallest_within(rows: list[Row], loss: float) -> Row | None:
    """The smallest file whose PSNR is at most `loss` dB below the reference's."""
    floor = reference(rows)["psnr"] - loss
    return min((row for row in rows if row["psnr"] >= floor), key=lambda row: row["bytes"], default=None)


def markdown_table(rows: list[Row]) -> str:
    """One row per file, the smallest last, and the answer to how small a file can be."""
    dense = reference(rows)
    heads = (
        "layers",
        "format",
        "bytes",
        "share of dense",
        "PSNR (dB)",
        "against dense (dB)",
        "SSIM",
        "form",
        "numbers",
    )
    cells = [
        (
            row["layer"],
            row["format"],
            f"{row['bytes']:,}",
            f"{row['bytes'] / dense['bytes']:.1%}",
            f"{row['psnr']:.2f}",
            f"{row['psnr'] - dense['psnr']:+.2f}",
            f"{row['ssim']:.4f}",
            row["form"],
            f"{row['numbers']:,}",
        )
        for row in sorted(rows, key=lambda row: -row["bytes"])
    ]
    lines = [table(heads, cells), ""]
    for loss in (0.3, 1.0):
        row = smallest_within(rows, loss)
        assert row is not None  # the reference itself is within any loss
        lines.append(
            f"Smallest file within {loss:g} dB of {dense['layer']} in {dense['format']} ({dense['psnr']:.2f} dB, "
            f"{dense['bytes']:,} bytes): {row['layer']} in {row['format']}, {row['bytes']:,} bytes, "
            f"{row['psnr']:.2f} dB."
        )
    return "\n".join(lines)


def draw(rows: list[Row], path: Path) -> None:
    """PSNR against bytes: a line through the number formats of each network, and the two losses that are asked for."""
    markers = {"float32": "o", "float16": "s", "int8": "^"}
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    with drawing(path, figsize=(9, 5.6)) as (figure, ((axes,),)):
        for index, layer in enumerate(layers):
            line = sorted((row["bytes"], row["psnr"], row["format"]) for row in rows if row["layer"] == layer)
            color = pyplot().get_cmap("tab20")(index % 20)
            axes.plot([size for size, _, _ in line], [psnr for _, psnr, _ in line], color=color, label=layer)
            for size, psnr, number_format in line:
                axes.plot(size, psnr, markers[number_format], color=color, markersize=6)
        for number_format in dict.fromkeys(row["format"] for row in rows):
            axes.plot([], [], markers[number_format], color="black", label=number_format)
        dense = reference(rows)
        for loss, style in ((0.0, "-"), (0.3, "--"), (1.0, ":")):
            label = "dense, float32" if loss == 0 else f"{loss:g} dB below"
            axes.axhline(dense["psnr"] - loss, color="black", linestyle=style, linewidth=0.8, label=label)
        axes.set_xscale("log")
        axes.set(xlabel="bytes of the file", ylabel="PSNR over the test views (dB)")
        axes.grid(alpha=0.3, which="both")
        figure.legend(ncols=1, fontsize=8, loc="outside right center", frameon=False)
