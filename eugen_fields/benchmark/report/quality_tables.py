"""Tables of the report about quality and size, each from the document of one JSON file."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any

from eugen_fields.benchmark.common.markdown import spread, table
from eugen_fields.benchmark.layers.synthetic_report import KINDS
from eugen_fields.benchmark.quality.frontier.frontier_report import markdown_report
from eugen_fields.benchmark.quality.rivals import race_report
from eugen_fields.benchmark.quality.scenes.scenes_report import markdown_table
from eugen_fields.benchmark.quality.transfer import rivals_table
from eugen_fields.benchmark.quality.transfer.layers_table import VARIANTS

Document = dict[str, Any]
Rows = list[dict[str, Any]]


def grouped(runs: Iterable[dict[str, Any]], key: Callable[[dict[str, Any]], Any]) -> dict[Any, Rows]:
    """Runs by a key, in the order in which each key comes first."""
    groups: dict[Any, Rows] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def defaults(document: Document) -> str:
    """One row for each set of defaults and layer kind, a mean over the seeds in each cell."""
    heads = ("defaults", "hidden layers", "PSNR (dB), each seed", "parameters", "multiplications", "CPU s")
    rows = []
    for (of, name), runs in grouped(document["runs"], lambda run: (run["defaults"], run["name"])).items():
        cells = ", ".join(f"{run['psnr']:.2f}" for run in runs)
        sizes = (f"{runs[0]['parameters']:,}", f"{runs[0]['multiplications']:,}")
        rows.append((of, name, cells, *sizes, spread([run["train_cpu_seconds"] for run in runs], 0)))
    return table(heads, rows)


def race(document: Document) -> str:
    """Our methods and others for equal seconds: a table for each scene."""
    return race_report.markdown_table(document["runs"])


def tuning(document: Document) -> str:
    """PSNR of every kind and rate; the best of each kind is bold."""
    rates = sorted({run["learning_rate"] for run in document["runs"]})
    rows = []
    for layer, runs in grouped(document["runs"], lambda run: run["layer"]).items():
        found = {run["learning_rate"]: run["psnr"] for run in runs}
        best = max(found, key=lambda rate: found[rate])
        cells = [f"{found[rate]:.2f}" if rate in found else "" for rate in rates]
        rows.append([layer, *(f"**{cell}**" if rate == best else cell for rate, cell in zip(rates, cells))])
    return table(["hidden layers", *(f"{rate:g}" for rate in rates)], rows)


def collapse(document: Document) -> str:
    """One row per layer kind."""
    rows = []
    for layer, runs in grouped(document["runs"], lambda run: run["layer"]).items():
        collapsed = sum(run["collapsed"] for run in runs)
        rows.append((layer, f"{collapsed} of {len(runs)}", spread([run["psnr"] for run in runs], 2)))
    return table(("hidden layers", "collapsed", "PSNR (dB), mean and least to largest"), rows)


def equal_budgets(document: Document) -> str:
    """One row per network: sizes, and PSNR at equal steps and in equal time."""
    names, rows = document["report"]["names"], []
    groups = grouped(document["runs"], lambda run: run["layer"])
    for layer, name in names.items():
        timed = [run for run in groups[layer] if run["seconds"] is not None]
        stepped = [run for run in groups[layer] if run["seconds"] is None]
        sizes = [f"{timed[0][size]:,}" for size in ("parameters", "stored_bytes", "multiplications")]
        quality = [spread([run["psnr"] for run in runs], 2) for runs in (stepped, timed)]
        rows.append((name, *sizes, *quality, f"{statistics.mean(run['trained_steps'] for run in timed):.0f}"))
    heads = ("hidden layers", "parameters", "bytes of the field", "multiplications per sample", "300 steps (dB)")
    return table((*heads, "20 s (dB)", "steps in 20 s"), rows)


def scales(document: Document) -> str:
    """One row per method and layer kind."""
    names = document["report"]["names"]
    rows = []
    for layer, name in names.items():
        for run in document["runs"]:
            if run["layer"] == layer:
                quality = [f"{psnr:.2f}" for psnr in run["psnr_by_scale"]]
                rows.append((f"`{run['method']}`", name, *quality, f"{run['parameters']:,}"))
    return table(("method", "hidden layers", "full", "1/2", "1/4", "1/8", "parameters"), rows)


def capture(document: Document) -> str:
    """One row per network at the rate that held on both seeds."""
    rows = []
    for shown in document["table"]:
        by_seed = {run["seed"]: run for run in document["runs"] if _is_capture(run, shown)}
        runs = [by_seed[seed] for seed in sorted(by_seed)]
        quality = ", ".join(f"{run['psnr']:.2f}" for run in runs)
        ssim = statistics.mean(run["ssim"] for run in runs)
        sizes = [f"{runs[0][size]:,}" for size in ("parameters", "multiplications")]
        rows.append((shown["name"], f"{shown['learning_rate']:g}", quality, f"{ssim:.3f}", *sizes))
    heads = ("hidden layers", "learning rate", "PSNR, seeds 0 and 1 (dB)", "SSIM", "parameters")
    return table((*heads, "multiplications per sample"), rows)


def capture_rates(document: Document) -> str:
    """One row per network and rate that was tried, by seeds."""
    rows = []
    for shown in document["table"]:
        same = [run for run in document["runs"] if _is_capture(run, shown | {"learning_rate": run["learning_rate"]})]
        for rate, runs in sorted(grouped(same, lambda run: run["learning_rate"]).items()):
            quality = {run["seed"]: f"{run['psnr']:.2f}" for run in runs}
            speeds = [run["steps_per_second"] for run in runs]
            rows.append((shown["name"], f"{rate:g}", quality.get(0, ""), quality.get(1, ""), spread(speeds, 1)))
    return table(("hidden layers", "learning rate", "seed 0", "seed 1", "steps/s"), rows)


def _is_capture(run: dict[str, Any], shown: dict[str, Any]) -> bool:
    replaced = any(option.startswith("replace=") for option in run["options"])
    kind = run["layer"], run["learning_rate"], replaced
    return kind == (shown["layer"], shown["learning_rate"], shown["replaced"])


def lens(document: Document) -> str:
    """One row per network and scene, by seeds."""
    rows = []
    key = ("layer", "trained_steps", "scene")
    for (layer, steps, scene), runs in grouped(document["runs"], lambda run: tuple(run[name] for name in key)).items():
        lens_used = "set to zero" if scene.endswith("zeroed") else "as calibrated"
        quality = {run["seed"]: f"{run['psnr']:.2f}" for run in runs}
        rows.append((layer, f"{steps:,}", lens_used, *(quality.get(seed, "") for seed in range(3))))
    return table(("hidden layers", "steps", "lens coefficients", "seed 0", "seed 1", "seed 2"), rows)


def scenes(document: Document) -> str:
    """One row per scene, a column for each network."""
    return markdown_table(document["runs"])


def frontier(document: Document) -> str:
    """The verdict and its tables, and for each scene one row per network."""
    return markdown_report(document["runs"])


def transfers(document: Document) -> str:
    """One row per set of layers and number of features."""
    runs = document["runs"]
    teacher = next(run for run in runs if run["variant"] == "teacher")
    whole = f"{teacher['trunk_multiplications']:,}"
    rows: list[tuple[str, ...]] = []
    rows.append(("none (dense)", str(teacher["features"]), f"{teacher['psnr']:.2f}", "", "", "", "", whole))
    students = [run for run in runs if run["variant"] != "teacher"]
    groups = grouped(students, lambda run: (run["best"], run["features"]))
    for (best, features), group in sorted(groups.items(), key=lambda item: (-item[0][0], -item[0][1])):
        by_variant = {run["variant"]: run for run in group}
        fitted, tuned, _ = (by_variant[variant] for variant in VARIANTS)
        layers = "all seven" if best == 0 else " ".join(map(str, fitted["replace"]))
        quality = [f"{by_variant[variant]['psnr']:.2f}" for variant in VARIANTS]
        seconds = f"{fitted['fit_seconds']:.0f}", f"{tuned['finetune_seconds']:.0f}"
        rows.append((layers, str(features), *quality, *seconds, f"{fitted['trunk_multiplications']:,}"))
    heads = ("layers", "m", "closed form", "+ fine-tuning", "random start + the same fine-tuning")
    return table((*heads, "fit (s)", "fine-tuning (s)", "multiplications of the trunk, folded"), rows)


def rivals(document: Document) -> str:
    """One row for each budget and network."""
    return rivals_table.markdown_table(document["runs"])


def copies(document: Document) -> str:
    """One row per activation and start."""
    names = document["report"]["names"]
    reported = [run for run in document["runs"] if run["seed"] >= 0]
    groups = grouped(reported, lambda run: (run["activation"], run["start"], run["layer"]))
    rows = []
    for activation in dict.fromkeys(run["activation"] for run in reported):
        for start, title in (("random", "random"), ("fitted", "closed form")):
            errors = {kind: [run["spread_error"] for run in groups[activation, start, kind]] for kind in KINDS}
            medians = {kind: round(statistics.median(values), 3) for kind, values in errors.items()}
            best, cells = min(medians.values()), []
            for kind, values in errors.items():
                text = f"**{medians[kind]:.3f}**" if medians[kind] == best else f"{medians[kind]:.3f}"
                cells.append(f"{text} ({min(values):.2f} to {max(values):.2f})")
            rows.append((activation, title, *cells))
    return table(("activation", "start", *(names[kind] for kind in KINDS)), rows)


def transformer(document: Document) -> str:
    """One row per network and number of blocks that are converted."""
    rows = []
    for run in document["runs"]:
        numbers = [f"{run[form]:,}" for form in ("dense", "converted", "folded")]
        megabytes = [f"{4e-6 * run[form]:.0f}" for form in ("dense", "folded")]
        change = f"{run['folded'] / run['dense'] - 1:+.1%}"
        rows.append((run["network"], f"{run['replaced']} of 12", *numbers, change, *megabytes))
    heads = ("network", "blocks converted", "numbers, dense", "converted", "folded", "change", "MB, dense")
    return table((*heads, "MB, folded"), rows)


def files(document: Document) -> str:
    """One row per network: the bytes of each format."""
    names, rows = document["report"]["names"], []
    groups = grouped(document["runs"], lambda run: run["layer"])
    formats = {layer: {run["format"]: run for run in runs} for layer, runs in groups.items()}
    dense = formats["dense"]["float32"]["bytes"]
    for layer, of in sorted(formats.items(), key=lambda item: -item[1]["int8"]["bytes"]):
        sizes = [f"{of[number_format]['bytes']:,}" for number_format in ("float32", "float16", "int8")]
        rows.append((names[layer], *sizes, f"{of['int8']['bytes'] / dense:.1%}", f"{of['int8']['psnr']:.2f}"))
    heads = ("hidden layers", "float32", "float16", "int8", "int8, share of dense float32")
    return table((*heads, "PSNR (dB)"), rows)


def file_seeds(document: Document) -> str:
    """One row per network: PSNR of int8 files on two seeds and at lower rates."""
    names = document["report"]["names"]
    tuned = {"dense": 0.032, "prp": 0.032, "eugen": 0.016}
    first = document["size_cpu.json"]["runs"]
    runs = [run for run in [*first, *document["runs"]] if run.get("format", "int8") == "int8"]
    found: dict[tuple[str, float, int], dict[str, Any]] = {}
    for run in runs:
        kind = run["layer"].partition(":")[0].removeprefix("hybrid-")
        found[run["layer"], run["learning_rate"] / tuned[kind], run["seed"]] = run
    again = {run["layer"] for run in document["runs"]}
    rows = []
    for layer in (layer for layer in names if layer in again):
        cells = [found.get((layer, share, seed)) for share in (0.5, 0.25, 0.125) for seed in (0, 1)]
        size = found[layer, 0.5, 0]["bytes"]
        rows.append((names[layer], f"{size:,}", *("" if run is None else f"{run['psnr']:.2f}" for run in cells)))
    heads = ("hidden layers", "bytes", "half the rates: seed 0", "seed 1", "a quarter: seed 0", "seed 1")
    return table((*heads, "an eighth: seed 0", "seed 1"), rows)
