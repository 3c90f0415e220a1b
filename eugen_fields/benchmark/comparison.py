"""`eugen-bench train`: layer kinds, methods and seeds on one budget."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eugen_fields.benchmark.results import find_run, load_results, save_results
from eugen_fields.errors import InputError


@dataclass
class Train:
    """Trains layer kinds and seeds on one budget and compares quality, size and speed."""

    scene: Path = Path("scenes/hotdog")
    """Folder of the scene."""
    method: Literal[
        "eugen-nerf-tiny", "eugen-nerf", "prp-nerf", "eugen-mipnerf-tiny", "eugen-mipnerf", "prp-mipnerf"
    ] = "eugen-nerf-tiny"
    """Method whose network, budget and data settings all runs share."""
    layers: tuple[Literal["dense", "eugen", "prp", "low-rank", "snnk"], ...] = ("dense", "eugen", "prp", "low-rank")
    """Layer kinds to compare."""
    options: tuple[str, ...] = ()
    """Flags of the model for all runs, as name=value: num_layers=8 replace=5,6,7."""
    num_scales: int = 1
    """Sizes at which every image is used, for training and scoring: 4 is full size, 1/2, 1/4 and 1/8."""
    seeds: int = 1
    """Runs of each kind, with seeds 0, 1, ..."""
    steps: int | None = None
    """Training steps of each run. Default: the method's own."""
    learning_rates: tuple[float, ...] = ()
    """Learning rates to try for each kind. Default: the rate tuned for the kind."""
    output: Path = Path("outputs/benchmark")
    """Where the runs are written."""
    json: Path = Path("outputs/benchmark/train.json")
    """Results, of several calls if they name the same file; runs that are already in it are not run again."""

    def main(self) -> None:
        """Runs what is missing in the JSON file, one after the other, and prints the table."""
        parse_options(self.options)  # bad ones are refused before anything is trained
        document = load_results(self.json)
        for layer in self.layers:
            for rate in self.learning_rates or (None,):
                for seed in range(self.seeds):
                    key = {"layer": layer, "seed": seed, "asked_rate": rate, "steps": self.steps, "method": self.method}
                    key |= {"scene": str(self.scene), "options": list(self.options), "num_scales": self.num_scales}
                    if find_run(document, key) is not None:
                        continue
                    words = (self.method, layer, *self.options, f"seed {seed}")
                    print(", ".join(words) + (f", learning rate {rate:g}" if rate else ""), flush=True)
                    document["runs"].append(key | self._run(layer, seed, rate))
                    save_results(document, self.json)
        print(markdown_table(document["runs"]))
        print(f"written to {self.json}")

    def _run(self, layer: str, seed: int, rate: float | None) -> dict[str, Any]:
        from eugen_fields.benchmark import train

        config = train.make_config(
            self.method, self.scene, self.output, layer=layer, steps=self.steps, seed=seed, num_scales=self.num_scales,
            model_options=parse_options(self.options),
        )  # fmt: skip
        if rate is not None:
            config.optimizers["fields"]["optimizer"].lr = rate
        trainer, seconds = train.train_run(config)
        scores = train.score_run(trainer)
        return {
            "learning_rate": config.optimizers["fields"]["optimizer"].lr,
            "trained_steps": config.max_num_iterations,
            "train_seconds": seconds,
            "steps_per_second": config.max_num_iterations / seconds,
            **{name: value for name, value in scores.items() if name != "views"},
            "collapsed": not scores["psnr"] > scores["empty_psnr"] + 3.0,
            "parameters": train.parameter_count(trainer),
            "layer_bytes": train.layer_bytes(trainer),
            "multiplications": train.multiplications(trainer),
        }


def parse_options(options: tuple[str, ...]) -> dict[str, Any]:
    """Model flags from name=value: numbers, numbers with commas (a tuple), True, False, None, or a word.

    Raises:
        InputError: one is not of that form.
    """
    parsed = {}
    for option in options:
        name, separator, text = option.partition("=")
        if not separator or not name.isidentifier():
            raise InputError(f"--options {option}: give name=value, such as num_layers=8.")
        try:
            parsed[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            parsed[name] = text
    return parsed


def markdown_table(runs: list[dict[str, Any]]) -> str:
    """One row per method, options, layer kind and learning rate: means over the seeds, and the spread of PSNR."""
    rows = [
        "| method | layer | learning rate | seeds | PSNR (dB) | SSIM | parameters | bytes of replaced layers "
        "| multiplications a sample | steps/s | collapsed |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for run in runs:
        name = " ".join([run["method"], *run.get("options", [])])
        groups.setdefault((name, run["layer"], run["learning_rate"], run.get("scene")), []).append(run)
    for (name, layer, rate, _), group in groups.items():
        mean = {name: _mean(group, name) for name in ("psnr", "ssim", "steps_per_second")}
        values = [run["psnr"] for run in group]
        spread = f" ({min(values):.2f} to {max(values):.2f})" if len(group) > 1 else ""
        if "psnr_by_scale" in group[0]:
            scales = [sum(values) / len(group) for values in zip(*(run["psnr_by_scale"] for run in group))]
            spread += "; by scale " + ", ".join(f"{value:.2f}" for value in scales)
        rows.append(
            f"| {name} | {layer} | {rate:g} | {len(group)} | {mean['psnr']:.2f}{spread} | {mean['ssim']:.4f} "
            f"| {group[0]['parameters']:,} | {group[0]['layer_bytes']:,} | {group[0].get('multiplications', 0):,} "
            f"| {mean['steps_per_second']:.2f} | {sum(run['collapsed'] for run in group)} of {len(group)} |"
        )
    return "\n".join(rows)


def _mean(runs: list[dict[str, Any]], name: str) -> float:
    return sum(run[name] for run in runs) / len(runs)
