"""One network of a comparison, trained with any seed, learning rate and budget."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.contestants import contestant, parse_options, with_options
from eugen_fields.benchmark.common.devices import device_name
from eugen_fields.benchmark.quality import train
from eugen_fields.benchmark.quality.learning_curve import LearningCurve
from eugen_fields.methods import METHODS
from eugen_fields.runs.checkpoints import list_checkpoints
from eugen_fields.training.trainer import FieldTrainer, FieldTrainerConfig


@dataclass(kw_only=True)
class Trial:
    """A contestant and what all runs of a comparison share.

    Raises:
        InputError: where a flag of the network will not do.
    """

    layer: str
    """Name of the contestant, with its flags behind colons."""
    method: str
    scene: Path
    output: Path
    options: tuple[str, ...]
    """Flags of the model that all contestants share, as name=value."""
    steps: int | None
    num_scales: int
    rate_factor: float
    """Factor of the tuned learning rates."""
    checkpoints: int
    """Points of the learning curve."""
    curve_views: int
    views: int
    """Test views that are scored at the end; 0: all."""
    device_type: str | None
    scale_factor: float = 1.0
    """Size of the images, as a share of the size of their files."""

    def __post_init__(self) -> None:
        self.config(0, None)

    def config(self, seed: int, seconds: float | None) -> FieldTrainerConfig:
        """The configuration of a run with a seed and a budget of seconds, or of steps where that is None."""
        shared = parse_options(self.options)
        model = with_options(METHODS[self.method].pipeline.model, "dense", shared)
        chosen = contestant(self.layer, model)
        config = train.make_config(
            self.method,
            self.scene,
            self.output,
            layer=chosen.layer,
            steps=self.steps,
            seed=seed,
            num_scales=self.num_scales,
            scale_factor=self.scale_factor,
            model_options=shared | chosen.options,
        )
        config.rate_factor = self.rate_factor
        if self.layer != chosen.layer or seconds is not None:
            name = re.sub(r"[^\w.-]+", "-", self.layer) + (f"-{seconds:g}s" if seconds is not None else "")
            config.timestamp = f"{name}-seed{seed}"
        if self.device_type is not None:
            config.machine.device_type = self.device_type  # type: ignore[assignment]
        return config

    def run(self, seed: int, rate: float | None, seconds: float | None) -> dict[str, Any]:
        """Trains and scores the network: an entry of the JSON file. Arguments as for `trained`."""
        return self.trained(seed, rate, seconds)[1]

    def trained(
        self, seed: int, rate: float | None = None, seconds: float | None = None
    ) -> tuple[FieldTrainer, dict[str, Any]]:
        """Trains and scores the network: the trainer at its end, and the entry of the JSON file.

        Args:
            rate: learning rate; None takes the tuned one.
            seconds: budget of training time; None: of steps.
        """
        config = self.config(seed, seconds)
        if rate is not None:
            config.optimizers["fields"]["optimizer"].lr = rate
        for _, path in list_checkpoints(config.get_checkpoint_dir()):
            path.unlink()  # of a run that was broken off, or of another file of results
        curve = LearningCurve(config, self.checkpoints, self.curve_views, seconds)
        trainer, train_seconds = train.train_run(config, started=curve.start)
        scores = train.score_run(trainer, views=self.views)
        train_seconds -= curve.paused
        optimizer: Any = config.optimizers["fields"]["optimizer"]
        return trainer, {
            "optimizer": optimizer.algorithm,
            "learning_rate": optimizer.lr,
            "trained_steps": curve.steps,
            "train_seconds": train_seconds,
            "train_cpu_seconds": curve.cpu_seconds,
            "steps_per_second": curve.steps / train_seconds,
            **{name: value for name, value in scores.items() if name != "views"},
            "collapsed": not scores["psnr"] > scores["empty_psnr"] + 3.0,
            "recoveries": trainer.recovery.count if trainer.recovery is not None else 0,
            "parameters": train.parameter_count(trainer),
            "layer_bytes": train.layer_bytes(trainer),
            "stored_bytes": train.stored_bytes(trainer),
            "multiplications": train.multiplications(trainer),
            "curve": curve.points,
            "device": device_name(config.machine.device_type),
            "run": str(config.get_base_dir()),
        }
