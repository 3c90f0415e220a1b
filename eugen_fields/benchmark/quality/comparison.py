"""`eugen-bench train`: layer kinds, methods and seeds on one budget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import tyro

from eugen_fields.benchmark.common import Case, Results, SweptBenchmark
from eugen_fields.benchmark.quality.comparison_report import draw, goal_table, markdown_table
from eugen_fields.errors import InputError

RadianceMethod: TypeAlias = Literal[
    "eugen-nerf-tiny",
    "eugen-nerf",
    "prp-nerf",
    "eugen-mipnerf-tiny",
    "eugen-mipnerf",
    "prp-mipnerf",
    "eugen-planes-tiny",
    "eugen-planes",
    "prp-planes",
]
"""A method that is trained on images and scored by renders of others."""


@dataclass(kw_only=True)
class Train(SweptBenchmark):
    """Trains networks of different layers on one budget, of steps or of wall time, and compares quality, size and
    speed.

    Every network has the same method, data and learning-rate schedule; each kind of layer has the learning rate tuned
    for it. With a budget of time, runs end when it is over, and the learning rate decays with the clock."""

    scene: Path = Path("scenes/hotdog")
    """Folder of the scene."""
    method: RadianceMethod = "eugen-nerf-tiny"
    """Method whose network, budget and data settings all runs share."""
    layers: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--layer"])] = (
        "dense",
        "narrow-eugen",
        "narrow-prp",
        "shallow",
        "low-rank",
        "snnk",
        "eugen",
        "prp",
        "hybrid-eugen",
        "hybrid-prp",
    )
    """Networks to compare: dense, eugen, eugen-residual, prp, low-rank, snnk; narrow-eugen and narrow-prp, dense
    networks with the parameters of the EUGen network or the stored bytes of the PRP network; shallow, fewer dense
    layers with the parameters of the EUGen network; hybrid-eugen and hybrid-prp, every second hidden layer replaced.
    Flags of the model may follow behind colons: eugen:num_features=16."""
    options: tuple[str, ...] = ()
    """Flags of the model for all runs, as name=value: num_layers=8 replace=5,6,7."""
    num_scales: int = 1
    """Sizes at which every image is used, for training and scoring: 4 is full size, 1/2, 1/4 and 1/8."""
    seed: tuple[int, ...] = (0,)
    """Seeds of the runs of each network."""
    budget: tuple[Literal["steps", "time"], ...] | None = None
    """Budget that all runs get alike: training steps, seconds of training, or one after the other. Default: steps; with
    --quick both."""
    steps: int | None = None
    """Training steps of each run. Default: the method's own; with --quick 300."""
    seconds: float | None = None
    """Seconds of training of each run, for the budget of time. Default with --quick: 20."""
    learning_rates: tuple[float, ...] = ()
    """Learning rates to try for each kind. Default: the rate tuned for the kind."""
    rate_factor: float = 1.0
    """Factor of the tuned learning rates. Networks that are deeper than the method's own want less."""
    views: int | None = None
    """Test views that are scored at the end, evenly spread; 0: all. Default: all; with --quick 4."""
    checkpoints: int | None = None
    """Points of the learning curve of each run; rendering them is not counted as training time. Default: 8; with
    --quick 5."""
    curve_views: int = 2
    """Test views that are rendered for each point of the learning curve."""
    goal: float | None = None
    """PSNR in dB: a second table says after how many seconds of training each network reached it."""
    quick: bool = False
    """Short runs: half a minute each on a CPU."""
    json: Path = Path("outputs/benchmark/train.json")
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again."""

    defaults: ClassVar = {"budget": ("steps",), "views": 0, "checkpoints": 8}
    quick_defaults: ClassVar = {
        "steps": 300,
        "seconds": 20.0,
        "views": 4,
        "checkpoints": 5,
        "budget": ("steps", "time"),
    }

    def check(self) -> None:
        if "time" in (self.budget or ()) and not (self.seconds or 0.0) > 0:
            raise InputError("--budget time needs --seconds, more than 0: how long every run may train.")
        self.require(1, "checkpoints", "curve_views", "num_scales", "layers", "budget")
        self.require(0, "views", "seed")
        if not self.rate_factor > 0:
            raise InputError(f"--rate-factor {self.rate_factor:g}: it must be more than 0.")

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Trains what is missing in the results; the table has all runs in the file."""
        self.train(results)
        tables = [markdown_table(results.runs)]
        if self.goal is not None:
            tables.append(goal_table(results.runs, self.goal))
        return "\n\n".join(tables), self.drawn(lambda path: draw(results.runs, path))

    def run_all(self) -> list[dict[str, Any]]:
        """Trains what is missing in the JSON file and returns what was asked for."""
        self.complete()
        return self.train(Results(self.json))

    def train(self, results: Results) -> list[dict[str, Any]]:
        """Trains what is missing and returns what was asked for, in the order of seeds and budgets: whatever slows the
        machine for a while hits all networks alike."""
        from eugen_fields.benchmark.quality.trial import Trial

        settings = {
            "checkpoints": self.checkpoints or 1,
            "views": self.views or 0,
            "device_type": self.device_type,
        }
        same = ("method", "scene", "output", "options", "steps", "num_scales", "rate_factor", "curve_views")
        settings |= {name: getattr(self, name) for name in same}
        trials = {layer: Trial(layer=layer, **settings) for layer in self.layers}  # bad flags are refused first
        cases = []
        for seed in self.seed:
            for budget in self.budget or ():
                for layer, trial in trials.items():
                    for rate in self.learning_rates or (None,):
                        key = self._key(layer, seed, rate, budget)
                        words = (self.method, layer, *self.options, f"seed {seed}", f"equal {budget}")
                        words += (f"learning rate {rate:g}",) if rate else ()
                        cases.append(Case(key, ", ".join(words), partial(trial.run, seed, rate, key["seconds"])))
        return self.sweep(cases, results)

    def _key(self, layer: str, seed: int, rate: float | None, budget: str) -> dict[str, Any]:
        key = {"layer": layer, "seed": seed, "asked_rate": rate, "method": self.method}
        key |= {"scene": str(self.scene), "options": list(self.options), "num_scales": self.num_scales}
        timed = budget == "time"
        # none of these stands in files from before there were such choices, which None finds as well
        key["rate_factor"] = None if self.rate_factor == 1.0 else self.rate_factor
        key |= {"seconds": self.seconds if timed else None, "views_scored": self.views or None}
        return key | {"steps": None if timed else self.steps}
