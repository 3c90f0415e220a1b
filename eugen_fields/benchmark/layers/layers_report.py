"""Ratios, table and plot of `eugen-bench layers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.figure import drawing, pyplot, shared_legend
from eugen_fields.benchmark.common.markdown import table

Group = dict[str, Any]
_USUAL_BATCH = {"inference": 1 << 16, "training": 1 << 13}


def fastest(group: Group) -> dict[str, dict[str, Any]]:
    """The result of least median time of every kind, by the kind's name."""
    best: dict[str, dict[str, Any]] = {}
    for result in group["results"]:
        kind = result["kind"]
        if kind not in best or result["ms"]["median"] < best[kind]["ms"]["median"]:
            best[kind] = result
    return best


def key(group: Group, kind: str) -> str:
    """The key of a kind in the maps of ratios and speedups; benchmark/layers.py says how it is made."""
    parts = [group["device"].partition(":")[0], group["mode"], f"w{group['width']}", kind]
    parts += [group["network"]] if group["network"] != "trunk" else []
    parts += [f"order{group['order']}"] if group["order"] > 1 else []
    parts += [group["dtype"]] if group["dtype"] != "float32" else []
    parts += [f"b{group['batch']}"] if group["batch"] != _USUAL_BATCH[group["mode"]] else []
    return ".".join(parts)


def ratios(groups: list[Group]) -> dict[str, float]:
    """Median time of dense over that of every other kind, each at its fastest."""
    found = {}
    for group in groups:
        best = fastest(group)
        dense = best["dense"]["ms"]["median"]
        found |= {key(group, kind): dense / result["ms"]["median"] for kind, result in best.items() if kind != "dense"}
    return found


def speedups(groups: list[Group]) -> dict[str, float]:
    """Median time of a network run eagerly over that of every other backend, at its best tile."""
    found: dict[str, float] = {}
    for group in groups:
        eager = {result["kind"]: result["ms"]["median"] for result in group["results"] if result["backend"] == "eager"}
        for result in group["results"]:
            if result["backend"] != "eager" and result["kind"] in eager:
                name = f"{key(group, result['kind'])}.{result['backend']}"
                found[name] = max(found.get(name, 0.0), eager[result["kind"]] / result["ms"]["median"])
    return found


def markdown_table(groups: list[Group]) -> str:
    """A table for every group: each kind at its fastest, with the quartiles of its times."""
    return "\n\n".join(_group_table(group) for group in groups)


def _group_table(group: Group) -> str:
    order = f", order {group['order']}" if group["order"] > 1 else ""
    title = (
        f"{group['mode']}, {group['network']}, width {group['width']}{order}, {group['batch']:,} points, "
        f"{group['dtype']}, {group['on']}, {group['rounds']} rounds:"
    )
    heads = ("layers", "fastest as", "ms (quartiles)", "million points/s", "dense / this")
    heads += ("multiplications per point, folded", "share of the ceiling", "bytes of the folded matrices")
    best, rows = fastest(group), []
    for kind, result in best.items():
        ms = result["ms"]
        rows.append(
            (
                kind.replace(".m", ", m = "),
                result["backend"] + (f", {result['tile']} rows" if result["tile"] else ""),
                f"{ms['median']:.2f} ({ms['lower']:.2f} to {ms['upper']:.2f})",
                f"{result['points_per_second'] / 1e6:.2f}",
                f"{best['dense']['ms']['median'] / ms['median']:.2f}",
                f"{result['multiplications']:,}",
                f"{result['ceiling_share']:.0%}" if "ceiling_share" in result else "-",
                f"{result['weight_bytes']:,}",
                f"{result['stored_bytes']:,}",
            )
        )
    return f"{title}\n\n{table((*heads, 'bytes of a checkpoint'), rows)}"


def draw(groups: list[Group], path: Path) -> None:
    """Dense over this against m: one panel for every mode, network, order, dtype and batch; a colour for each kind, a
    line style for each width. Kinds without an m are level lines."""
    panels: dict[str, list[Group]] = {}
    for group in groups:
        order = f", order {group['order']}" if group["order"] > 1 else ""
        title = f"{group['mode']}, {group['network']}{order}, {group['batch']:,} points, {group['dtype']}"
        panels.setdefault(title, []).append(group)
    widths = sorted({group["width"] for group in groups}, reverse=True)
    styles = dict(zip(widths, ("-", "--", ":", "-.") * len(widths)))
    layers = list(dict.fromkeys(result["layer"] for group in groups for result in group["results"]))
    colors = {layer: pyplot().get_cmap("tab10")(index) for index, layer in enumerate(layers)}
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with drawing(path, rows, columns, figsize=(5.6 * columns, 4.2 * rows)) as (figure, grid):
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (title, members) in zip(grid.flat, panels.items()):
            for group in members:
                _draw_group(axes, group, colors, styles[group["width"]])
            axes.axhline(1.0, color="black", linewidth=1)
            axes.set_xscale("log", base=2)
            ticks = sorted({result["m"] for group in members for result in group["results"] if result["m"]})
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.set(xlabel="m (low-rank: rank)", ylabel="time of dense / time of this", ylim=(0, None))
            axes.set_title(title, fontsize=10)
            axes.grid(alpha=0.3)
        shared_legend(figure, grid, columns=4, size=8)


def _draw_group(axes: Any, group: Group, colors: dict[str, Any], style: str) -> None:
    best = fastest(group)
    dense = best["dense"]["ms"]["median"]
    for layer in dict.fromkeys(result["layer"] for result in best.values()):
        if layer == "dense":
            continue
        points = sorted((r["m"], dense / r["ms"]["median"]) for r in best.values() if r["layer"] == layer and r["m"])
        label = f"{layer}, width {group['width']}"
        if points:
            axes.plot(*zip(*points), style, marker="o", markersize=4, color=colors[layer], label=label)
        else:
            axes.axhline(dense / best[layer]["ms"]["median"], linestyle=style, color=colors[layer], label=label)
