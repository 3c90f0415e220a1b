"""`eugen-bench train`: layer kinds, methods and seeds on one budget."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from eugen_fields.benchmark.common.contestants import contestant, parse_options, with_options
from eugen_fields.benchmark.common.results import find_run, load_results, save_results
from eugen_fields.benchmark.quality.comparison_report import draw, goal_table, markdown_table
from eugen_fields.errors import InputError

_QUICK = {"steps": 300, "seconds": 20.0, "views": 4, "checkpoints": 5, "budget": ("steps", "time")}


@dataclass
class Train:
    """Trains networks of different layers on one budget, of steps or of wall time, and compares quality, size and
    speed.

    Every network has the same method, data and learning-rate schedule; each kind of layer has the learning rate tuned
    for it. With a budget of time, runs end when it is over, and the learning rate decays with the clock."""

    scene: Path = Path("scenes/hotdog")
    """Folder of the scene."""
    method: Literal[
        "eugen-nerf-tiny", "eugen-nerf", "prp-nerf", "eugen-mipnerf-tiny", "eugen-mipnerf", "prp-mipnerf"
    ] = "eugen-nerf-tiny"
    """Method whose network, budget and data settings all runs share."""
    layers: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--layer"])] = (
        "dense", "narrow-eugen", "narrow-prp", "shallow", "low-rank", "snnk", "eugen", "prp", "hybrid-eugen",
        "hybrid-prp",
    )  # fmt: skip
    """What to compare: any layer kind (dense, eugen, prp, ...); narrow-eugen and narrow-prp, dense networks with the
    parameters of the EUGen network or the stored bytes of the PRP network; shallow, fewer dense layers with the
    parameters of the EUGen network; hybrid-eugen and hybrid-prp, every second hidden layer replaced. Flags of the model
    may follow behind colons: eugen:num_features=16."""
    options: tuple[str, ...] = ()
    """Flags of the model for all runs, as name=value: num_layers=8 replace=5,6,7."""
    num_scales: int = 1
    """Sizes at which every image is used, for training and scoring: 4 is full size, 1/2, 1/4 and 1/8."""
    seed: tuple[int, ...] = (0,)
    """Seeds of the runs of each kind."""
    budget: tuple[Literal["steps", "time"], ...] | None = None
    """What all runs are given alike: training steps, seconds of training, or one after the other. Default: steps; with
    --quick both."""
    steps: int | None = None
    """Training steps of each run. Default: the method's own; with --quick 300."""
    seconds: float | None = None
    """Seconds of training, for the budget of time. Default with --quick: 20."""
    learning_rates: tuple[float, ...] = ()
    """Learning rates to try for each kind. Default: the rate tuned for the kind."""
    rate_factor: float = 1.0
    """Factor of the tuned rates. Networks that are deeper than the method's own want less."""
    views: int | None = None
    """Test views that are scored at the end, evenly spread; 0: all. Default: all; with --quick 4."""
    checkpoints: int | None = None
    """Times that a run is measured on the way, which no clock counts. Default: 8; with --quick 5."""
    curve_views: int = 2
    """Test views that are rendered each time."""
    goal: float | None = None
    """Also say after how many seconds of training this PSNR was reached, in dB."""
    quick: bool = False
    """Short runs: half a minute each on a CPU."""
    plot: bool = True
    """Draw the learning curves into a PNG beside the JSON file."""
    device: str | None = None
    """cpu or cuda. Default: CUDA if there is one."""
    output: Path = Path("outputs/benchmark")
    """Where the runs are written."""
    json: Path = Path("outputs/benchmark/train.json")
    """Results, of several calls if they name the same file; runs that are already in it are not run again."""

    def main(self) -> None:
        """Runs what is missing in the JSON file, one after the other, prints the table and draws the plot."""
        print(self.report())

    def report(self) -> str:
        """Runs, draws, and returns the table of all runs in the file."""
        self.run_all()
        runs = load_results(self.json)["runs"]
        lines = [markdown_table(runs)]
        if self.goal is not None:
            lines.append("\n" + goal_table(runs, self.goal))
        lines.append(f"\nwritten to {self.json}")
        if self.plot:
            path = self.json.with_suffix(".png")
            if draw(runs, path):
                lines.append(f"drawn to {path}")
        return "\n".join(lines)

    def run_all(self) -> list[dict[str, Any]]:
        """Runs what is missing in the JSON file and returns what was asked for, in the order of seeds and budgets:
        whatever slows the machine for a while hits all layers alike."""
        self._complete()
        configs = {layer: self._config(layer, 0, None) for layer in self.layers}  # bad flags are refused first
        document = load_results(self.json)
        asked = []
        for seed in self.seed:
            for budget in self.budget or ():
                for layer in configs:
                    for rate in self.learning_rates or (None,):
                        key = self._key(layer, seed, rate, budget)
                        run = find_run(document, key)
                        if run is None:
                            words = (self.method, layer, *self.options, f"seed {seed}", f"equal {budget}")
                            print(", ".join(words) + (f", learning rate {rate:g}" if rate else ""), flush=True)
                            run = key | self._run(layer, seed, rate, key["seconds"])
                            document["runs"].append(run)
                            save_results(document, self.json)
                        asked.append(run)
        return asked

    def _complete(self) -> None:
        """Fills in what was left to --quick or its absence, and checks all numbers."""
        from eugen_fields.benchmark.common.devices import choose_device

        usual = {"budget": ("steps",), "views": 0, "checkpoints": 8}
        for name, value in (_QUICK if self.quick else usual).items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        if "time" in (self.budget or ()) and not (self.seconds or 0.0) > 0:
            raise InputError("--budget time needs --seconds, more than 0: how long every run may train.")
        for name, least in (("checkpoints", 1), ("curve_views", 1), ("views", 0), ("num_scales", 1)):
            if getattr(self, name) < least:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: it must be at least {least}.")
        if not self.rate_factor > 0:
            raise InputError(f"--rate-factor {self.rate_factor:g}: it must be more than 0.")
        for name in ("layers", "seed", "budget"):
            if not getattr(self, name):
                raise InputError(f"--{name}: give at least one.")
        choose_device(self.device)

    def _key(self, layer: str, seed: int, rate: float | None, budget: str) -> dict[str, Any]:
        key = {"layer": layer, "seed": seed, "asked_rate": rate, "method": self.method}
        key |= {"scene": str(self.scene), "options": list(self.options), "num_scales": self.num_scales}
        timed = budget == "time"
        # none of these stands in files from before there were such choices, which None finds as well
        key["rate_factor"] = None if self.rate_factor == 1.0 else self.rate_factor
        key |= {"seconds": self.seconds if timed else None, "views_scored": self.views or None}
        return key | {"steps": None if timed else self.steps}

    def _config(self, layer: str, seed: int, seconds: float | None) -> Any:
        from eugen_fields.benchmark.quality.train import make_config
        from eugen_fields.methods import METHODS

        shared = parse_options(self.options)
        model = with_options(METHODS[self.method].pipeline.model, "dense", shared)
        chosen = contestant(layer, model)
        config = make_config(
            self.method, self.scene, self.output, layer=chosen.layer, steps=self.steps, seed=seed,
            num_scales=self.num_scales, model_options=shared | chosen.options,
        )  # fmt: skip
        for rates in (config.learning_rates, config.unbounded_learning_rates):
            rates.update({kind: self.rate_factor * rate for kind, rate in rates.items()})
        if layer != chosen.layer or seconds is not None:
            name = re.sub(r"[^\w.-]+", "-", layer) + (f"-{seconds:g}s" if seconds is not None else "")
            config.timestamp = f"{name}-seed{seed}"
        if self.device is not None:
            config.machine.device_type = "cuda" if self.device.startswith("cuda") else "cpu"
        return config

    def _run(self, layer: str, seed: int, rate: float | None, seconds: float | None) -> dict[str, Any]:
        from eugen_fields.benchmark.common.devices import device_name
        from eugen_fields.benchmark.quality import train
        from eugen_fields.benchmark.quality.learning_curve import LearningCurve
        from eugen_fields.runs.checkpoints import list_checkpoints

        config = self._config(layer, seed, seconds)
        if rate is not None:
            config.optimizers["fields"]["optimizer"].lr = rate
        for _, path in list_checkpoints(config.get_checkpoint_dir()):
            path.unlink()  # of a run that was broken off, or of another file of results
        curve = LearningCurve(config, self.checkpoints or 1, self.curve_views, seconds)
        trainer, train_seconds = train.train_run(config, started=curve.start)
        scores = train.score_run(trainer, views=self.views or 0)
        train_seconds -= curve.paused
        return {
            "learning_rate": config.optimizers["fields"]["optimizer"].lr,
            "trained_steps": curve.steps,
            "train_seconds": train_seconds,
            "steps_per_second": curve.steps / train_seconds,
            **{name: value for name, value in scores.items() if name != "views"},
            "collapsed": not scores["psnr"] > scores["empty_psnr"] + 3.0,
            "parameters": train.parameter_count(trainer),
            "layer_bytes": train.layer_bytes(trainer),
            "stored_bytes": train.stored_bytes(trainer),
            "multiplications": train.multiplications(trainer),
            "curve": curve.points,
            "device": device_name(config.machine.device_type),
            "run": str(config.get_base_dir()),
        }
