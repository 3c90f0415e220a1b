"""Measures a run while it trains, on a clock that stands still meanwhile, and ends it when its time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from torch.optim.lr_scheduler import LambdaLR

from eugen_fields.benchmark.quality.train import UNLIMITED, score_run
from eugen_fields.errors import InputError
from eugen_fields.training.schedule import WarmupDecayConfig
from eugen_fields.training.trainer import FieldTrainerConfig


class LearningCurve:
    """PSNR of a few test views along a training run.

    With a budget of seconds, the run ends when they are over, and the learning rate of our own methods decays with them
    in place of steps.

    Args:
        config: configuration of the run, of any nerfstudio method; its number of steps is lifted where there is a
            budget of seconds, and nerfstudio's own evaluations are switched off.
        checkpoints: times that the run is measured, evenly spread over its budget; the last is its end.
        views: test views, evenly spread.
        seconds: budget of training time; None: the steps of the config.
        clock: what the budget is measured by; time.process_time counts the seconds of all processors.
        score: mean PSNR of a trainer; None: score_run's, on so many views.
    """

    def __init__(
        self,
        config: TrainerConfig,
        checkpoints: int,
        views: int,
        seconds: float | None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        score: Callable[[Any], float] | None = None,
    ) -> None:
        self.points: list[dict[str, float]] = []
        """steps, seconds by the clock, and psnr at each checkpoint."""
        self.steps = 0
        """Steps that were trained."""
        self.paused = 0.0
        """Seconds of the wall that measuring took, which do not count as training."""
        self.cpu_seconds = 0.0
        """Processor seconds of training, of all threads together, up to the newest checkpoint."""
        self._checkpoints, self._seconds, self._clock = checkpoints, seconds, clock
        self._score = score or (lambda trainer: score_run(trainer, views=views, progress=False)["psnr"])
        if seconds is not None:
            if isinstance(config, FieldTrainerConfig):
                model: Any = config.pipeline.model
                if model.dense_start:
                    raise InputError(
                        "dense_start is a share of the training steps, which a budget of seconds leaves open."
                    )
                model.dense_start = 0.0
                config.prepare()  # the rates are those of the method's own number of steps
            config.max_num_iterations = UNLIMITED
        self._max_steps = config.max_num_iterations
        config.steps_per_eval_batch = config.steps_per_eval_image = config.steps_per_eval_all_images = UNLIMITED

    def start(self, trainer: Trainer) -> None:
        """What train_run calls before the first step."""
        self._trainer = trainer
        if self._seconds is not None:
            self._decay_with_time(trainer)
        location = [TrainingCallbackLocation.AFTER_TRAIN_ITERATION]
        trainer.callbacks.append(TrainingCallback(location, self._after_step, update_every_num_iters=1))
        self._cpu_start, self._clock_start = time.process_time(), self._clock()

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, by the clock of the budget."""
        return self._clock() - self._clock_start

    def _passed(self) -> float:
        """The share of the budget that is used up."""
        return self.steps / self._max_steps if self._seconds is None else min(1.0, self.elapsed / self._seconds)

    def _after_step(self, step: int) -> None:
        self.steps = step + 1
        passed = self._passed()
        if passed * self._checkpoints >= len(self.points) + 1 or passed >= 1.0:
            self._measure()
        if self._seconds is not None and passed >= 1.0:
            self._trainer.stop_training = True

    def _measure(self) -> None:
        wall, cpu, clock = time.perf_counter(), time.process_time(), self._clock()
        self.cpu_seconds = cpu - self._cpu_start
        self.points.append({"steps": self.steps, "seconds": self.elapsed, "psnr": self._score(self._trainer)})
        self.paused += time.perf_counter() - wall
        self._cpu_start += time.process_time() - cpu
        self._clock_start += self._clock() - clock

    def _decay_with_time(self, trainer: Trainer) -> None:
        for name, scheduler in trainer.optimizers.schedulers.items():
            settings: Any = trainer.config.optimizers[name]["scheduler"]
            if isinstance(settings, WarmupDecayConfig):
                assert isinstance(scheduler, LambdaLR)
                factor = partial(self._factor, settings)
                scheduler.lr_lambdas = [factor] * len(scheduler.optimizer.param_groups)

    def _factor(self, settings: WarmupDecayConfig, step: int) -> float:
        return settings.factor(step, self._passed())
