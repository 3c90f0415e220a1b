"""One contestant trained on one scene with one seed, scored and weighed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.scoring import Scorer
from eugen_fields.benchmark.quality.frontier.frontier_contestants import METHOD, Network
from eugen_fields.benchmark.quality.frontier.frontier_costs import costs
from eugen_fields.benchmark.quality.scenes.scenes import has_collapsed
from eugen_fields.benchmark.quality.train import radiance_model, score_model
from eugen_fields.benchmark.quality.trial import Trial
from eugen_fields.errors import InputError
from eugen_fields.methods import METHODS
from eugen_fields.transfer.fit import transfer_field
from eugen_fields.transfer.options import TransferOptions
from eugen_fields.transfer.rays import training_rays
from eugen_fields.transfer.teacher import open_teacher

_TAKEN = ("optimizer", "learning_rate", "trained_steps", "train_seconds", "train_cpu_seconds", "device", "run")
_SCORES = ("psnr", "ssim", "empty_psnr", "opacity", "fog", "recoveries")


class FrontierTrial:
    """A contestant on a scene.

    Args:
        network: the contestant.
        scene: its folder.
        steps: of training, the fine-tuning of a shrunk network included.
        output: folder of the training runs.
        options: flags of the model for all contestants, as name=value.
        scale_factor: size of the images, as a share of the size of their files.
        views: test views that are scored; 0: all.
        device_type: cpu, cuda, or None for the machine's own.

    Raises:
        InputError: a flag of the model that will not do, or a shrunk network on fewer than two steps.
    """

    def __init__(
        self,
        network: Network,
        *,
        scene: Path,
        steps: int,
        output: Path,
        options: tuple[str, ...] = (),
        scale_factor: float = 1.0,
        views: int = 0,
        device_type: str | None = None,
    ) -> None:
        self.network, self.scene, self.steps = network, scene, steps
        shrinks = network.teacher_share > 0
        self._teacher_steps = round(network.teacher_share * steps)
        if shrinks and not 0 < self._teacher_steps < steps:
            raise InputError(f"--steps {steps}: {network.name} needs at least 2, to train a network and to shrink it.")
        self._trial = Trial(
            layer="dense" if shrinks else network.layer,
            method=METHOD,
            scene=scene,
            output=output,
            options=options,
            steps=self._teacher_steps if shrinks else steps,
            num_scales=1,
            rate_factor=1.0,
            checkpoints=1,
            curve_views=1,
            views=1 if shrinks else views,
            device_type=device_type,
            scale_factor=scale_factor,
        )
        self._views = views

    def run(self, seed: int) -> dict[str, Any]:
        """Trains, scores and weighs the network: an entry of the JSON file."""
        trainer, facts = self._trial.trained(seed)
        found = {name: facts[name] for name in (*_TAKEN, *_SCORES)}
        if self.network.teacher_share:
            found |= self._shrunk(Path(facts["run"]), seed, found)
        else:
            found |= costs(radiance_model(trainer).field)
        return found | {"collapsed": has_collapsed(found)}

    def _shrunk(self, teacher: Path, seed: int, found: dict[str, Any]) -> dict[str, Any]:
        """What is different of a network that is shrunk from a trained one."""
        wall, cpu = time.perf_counter(), time.process_time()
        run, config = open_teacher(teacher, self._trial.device_type, None, 128, METHODS)
        options = TransferOptions(
            run=teacher,
            layer=self.network.parsed.layer,  # type: ignore[arg-type]
            num_features=self.network.parsed.options["num_features"],
            finetune_steps=self.steps - self._teacher_steps,
            seed=seed,
        )
        made = transfer_field(run, config, training_rays(run, config), options)
        field = made.field
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        scorer = Scorer(run, config, self._views)
        scorer.model.field = field
        scores = score_model(scorer.model, scorer.data.fixed_indices_eval_dataloader, views=self._views)
        return {
            **{name: value for name, value in scores.items() if name != "views"},
            "trained_steps": self.steps,
            "teacher_steps": self._teacher_steps,
            "train_seconds": found["train_seconds"] + wall,
            "train_cpu_seconds": found["train_cpu_seconds"] + cpu,
            "fit_seconds": made.report.fit_seconds,
            **costs(field),
        }
