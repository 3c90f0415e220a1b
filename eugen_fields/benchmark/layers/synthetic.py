"""`eugen-bench synthetic`: trained EUGen, SNNK and low-rank layers as stand-ins for one random dense layer.

The comparison is that of "EUGens: Efficient, Unified, and General Dense Layers" (arXiv 2410.09771): a dense layer of
random weights, inputs uniform in [0, 1]. Each stand-in has the same steps, batches and number of learning rates tried,
and is trained from its own random start and from the closed form of eugen_fields.layers.fitting.transfer.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from eugen_fields.benchmark.common import DrawnBenchmark, Results
from eugen_fields.benchmark.common.devices import choose_device
from eugen_fields.benchmark.layers.stand_ins import copy_dense_layer
from eugen_fields.benchmark.layers.synthetic_report import KINDS, draw, markdown_table
from eugen_fields.errors import InputError

STARTS = ("random", "fitted")


@dataclass(kw_only=True)
class Synthetic(DrawnBenchmark):
    """Trains EUGen, SNNK and low-rank layers of equal size to copy one random dense layer, and compares the errors."""

    activations: tuple[Literal["relu", "softplus", "gelu"], ...] = ("relu", "softplus", "gelu")
    """Activations of the dense layer."""
    width: int = 512
    """Inputs and outputs of the dense layer."""
    num_features: int = 128
    """Random features m of the EUGen layer; the other layers get its number of parameters."""
    steps: int = 1200
    """Training steps of each run, on batches of 128 fresh inputs."""
    seed: tuple[int, ...] = (0, 1, 2)
    """Seeds, 0 or more: each is a dense layer with its own draws of the stand-ins and inputs."""
    learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2)
    """Learning rates tried for each kind, start and activation on a dense layer of another seed; the best is used."""
    starts: tuple[Literal["random", "fitted"], ...] = STARTS
    """Starts of training: a random layer, or the closed-form fit."""
    json: Path = Path("outputs/benchmark/synthetic.json")
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again."""

    def check(self) -> None:
        self.require(1, "width", "num_features", "steps")
        self.require(0, "seed")
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise InputError("--learning-rates: give at least one number above 0.")

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Trains what is missing in the results, after finding the learning rate of each case on a seed of its own."""
        rates, device = list(self.learning_rates), choose_device(self.device)
        tried = len(rates) if len(rates) > 1 else 0
        cases = list(itertools.product(self.activations, self.starts, KINDS))
        runs = []
        with tqdm(total=len(cases) * (tried + len(self.seed)), desc="Training layers", unit="run") as bar:
            for case in cases:
                rate = rates[0]
                if tried:  # the tuning seed is none of those reported
                    trials = [self._run(results, device, *case, rate, -1, bar) for rate in rates]
                    best = min(trials, key=lambda run: (math.isnan(run["relative_error"]), run["relative_error"]))
                    rate = best["learning_rate"]
                runs += [self._run(results, device, *case, rate, seed, bar) for seed in self.seed]
        return markdown_table(runs), self.drawn(lambda path: draw(runs, path))

    def _run(
        self, results: Results, device: str, activation: str, start: str, kind: str, rate: float, seed: int, bar: tqdm
    ) -> dict[str, Any]:
        key = {
            "activation": activation,
            "start": start,
            "layer": kind,
            "learning_rate": rate,
            "seed": seed,
            "width": self.width,
            "num_features": self.num_features,
            "steps": self.steps,
        }
        bar.set_postfix_str(f"{activation} {start} {kind}, rate {rate:g}, seed {seed}")
        # the tuning run, seed -1, is a dense layer of its own
        case = activation, start, kind, rate, seed + 1, self.width, self.num_features, self.steps, device
        run = results.once(key, lambda: copy_dense_layer(*case))
        bar.update(1)
        return run
