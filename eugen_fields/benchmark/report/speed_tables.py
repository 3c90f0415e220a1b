"""Tables of the report about speed, each from the document of one JSON file."""

from __future__ import annotations

from typing import Any

from eugen_fields.benchmark.common.markdown import table

Document = dict[str, Any]

_NETWORKS = (
    ("EUGen, 65,536 points", "inference", "eugen", ""),
    ("EUGen, 4,096 points", "inference", "eugen", ".b4096"),
    ("EUGen, order 2", "inference", "eugen", ".order2"),
    ("SNNK", "inference", "snnk", ""),
    ("low-rank (linear)", "inference", "low-rank", ""),
    ("EUGen, a training step", "training", "eugen", ""),
    ("EUGen of order 2, a training step", "training", "eugen", ".order2"),
    ("SNNK, a training step", "training", "snnk", ""),
    ("low-rank, a training step", "training", "low-rank", ""),
)


def networks(document: Document) -> str:
    """Time of dense over time of this: one row per width and kind, a column for each m."""
    ratios, rows = document["ratios"], []
    for width in (256, 128):
        for title, mode, kind, setting in _NETWORKS:
            cells = [f"{ratios[f'cpu.{mode}.w{width}.{kind}.m{m}{setting}']:.2f}" for m in (16, 32, 64, 128)]
            rows.append((f"8x{width}", title, *cells))
    return table(("network", "hidden layers", "m = 16", "m = 32", "m = 64", "m = 128"), rows)


def frames(document: Document) -> str:
    """One row per network: seconds of a frame."""
    by_size = {group["size"]: group["results"] for group in document["runs"]}

    def result(size: int, run: str, grid: bool = True) -> dict[str, Any]:
        return next(r for r in by_size[size] if r["run"].endswith(f"/{run}") and r["occupancy"] is grid)

    names, rows = document["report"]["names"], []
    dense = result(800, next(iter(names)))["ms"]["median"]
    for run, name in names.items():
        cells = []
        for size in (400, 800):
            ms = result(size, run)["ms"]
            low, high = ms["lower"] / 1000, ms["upper"] / 1000
            cells.append(f"{ms['median'] / 1000:.2f} s ({low:.2f} to {high:.2f})")
        large = result(800, run)
        cells += [f"{dense / large['ms']['median']:.2f}", f"{large['samples']:,.0f}"]
        cells += [f"{result(200, run)['ms']['median'] / 1000:.2f} s"]
        cells += [f"{result(200, run, grid=False)['ms']['median'] / 1000:.1f} s"]
        rows.append((name, *cells))
    heads = ("hidden layers", "400x400", "800x800", "dense / this, at 800x800", "samples at 800x800")
    return table((*heads, "200x200, with the occupancy grid", "without it"), rows)


def agreement(document: Document) -> str:
    """How far the fused kernel is from torch."""
    return table(("output", "difference"), list(document["agreement"].items()))


def matrices(document: Document) -> str:
    """PSNR with each matrix of PRP layers."""
    rows = [(run["matrix"], *(f"{psnr:.2f}" for psnr in run["psnr"])) for run in document["runs"]]
    return table(("matrix", "seed 0", "seed 1"), rows)


def viewer(document: Document) -> str:
    """The soak of the viewer's server."""
    first, last = document["training_steps"]
    cells = (
        f"{document['seconds'] / 60:.0f}",
        f"{document['clients']}",
        f"{document['drags']}",
        f"{first} to {last:,}",
        f"{document['median_mib_first_quarter']:.0f}",
        f"{document['median_mib_last_quarter']:.0f}",
        f"{document['growth']:.1%}",
    )
    heads = ("minutes", "browsers", "drags", "training steps", "memory, first quarter (MiB)", "last quarter (MiB)")
    return table((*heads, "growth"), [cells])
