"""The `eugen-bench` command."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from eugen_fields.benchmark.results import find_run, load_results, save_results
from eugen_fields.benchmark.synthetic import Synthetic
from eugen_fields.benchmark.transfer import Transfer


@dataclass
class Train:
    """Trains layer kinds and seeds on one budget and compares quality, size and speed."""

    scene: Path = Path("scenes/hotdog")
    """Folder of the scene."""
    method: Literal["eugen-nerf-tiny", "eugen-nerf", "prp-nerf"] = "eugen-nerf-tiny"
    """Method whose network, budget and data settings all runs share."""
    layers: tuple[Literal["dense", "eugen", "prp", "low-rank", "snnk"], ...] = ("dense", "eugen", "prp", "low-rank")
    """Layer kinds to compare."""
    seeds: int = 1
    """Runs of each kind, with seeds 0, 1, ..."""
    steps: int | None = None
    """Training steps of each run. Default: the method's own."""
    learning_rates: tuple[float, ...] = ()
    """Learning rates to try for each kind. Default: the rate tuned for the kind."""
    output: Path = Path("outputs/benchmark")
    """Where the runs are written."""
    json: Path = Path("outputs/benchmark/train.json")
    """Results; runs that are already in it are not run again."""

    def main(self) -> None:
        """Runs what is missing in the JSON file, one after the other, and prints the table."""
        document = load_results(self.json)
        for layer in self.layers:
            for rate in self.learning_rates or (None,):
                for seed in range(self.seeds):
                    key = {"layer": layer, "seed": seed, "asked_rate": rate, "steps": self.steps, "method": self.method}
                    if find_run(document, key) is not None:
                        continue
                    print(f"{layer}, seed {seed}" + (f", learning rate {rate:g}" if rate else ""), flush=True)
                    document["runs"].append(key | self._run(layer, seed, rate))
                    save_results(document, self.json)
        print(markdown_table(document["runs"]))
        print(f"written to {self.json}")

    def _run(self, layer: str, seed: int, rate: float | None) -> dict[str, Any]:
        from eugen_fields.benchmark.train import layer_bytes, make_config, parameter_count, score_run, train_run

        config = make_config(self.method, self.scene, self.output, layer=layer, steps=self.steps, seed=seed)
        if rate is not None:
            config.optimizers["fields"]["optimizer"].lr = rate
        trainer, seconds = train_run(config)
        scores = score_run(trainer)
        return {
            "scene": str(self.scene),
            "learning_rate": config.optimizers["fields"]["optimizer"].lr,
            "trained_steps": config.max_num_iterations,
            "train_seconds": seconds,
            "steps_per_second": config.max_num_iterations / seconds,
            "psnr": scores["psnr"],
            "ssim": scores["ssim"],
            "empty_psnr": scores["empty_psnr"],
            "collapsed": not scores["psnr"] > scores["empty_psnr"] + 3.0,
            "parameters": parameter_count(trainer),
            "layer_bytes": layer_bytes(trainer),
        }


def markdown_table(runs: list[dict[str, Any]]) -> str:
    """One row per layer kind and learning rate: means over the seeds, and the spread of PSNR."""
    rows = [
        "| layer | learning rate | seeds | PSNR (dB) | SSIM | parameters | bytes of replaced layers | steps/s "
        "| collapsed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys((run["layer"], run["learning_rate"]) for run in runs):
        group = [run for run in runs if (run["layer"], run["learning_rate"]) == kind]
        values = [run["psnr"] for run in group]
        mean = {name: sum(run[name] for run in group) / len(group) for name in ("psnr", "ssim", "steps_per_second")}
        spread = f" ({min(values):.2f} to {max(values):.2f})" if len(group) > 1 else ""
        rows.append(
            f"| {kind[0]} | {kind[1]:g} | {len(group)} | {mean['psnr']:.2f}{spread} | {mean['ssim']:.4f} "
            f"| {group[0]['parameters']:,} | {group[0]['layer_bytes']:,} | {mean['steps_per_second']:.2f} "
            f"| {sum(run['collapsed'] for run in group)} of {len(group)} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Entry point of eugen-bench."""
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    commands = {"train": Train, "synthetic": Synthetic, "transfer": Transfer}
    tyro.extras.subcommand_cli_from_dict(commands, description="Measures the fields and layers of eugen_fields.").main()
