"""The networks of one size that `eugen-bench transfer` compares: a run that was shrunk, small ones from the start."""

from __future__ import annotations

import copy
import dataclasses
import time
from pathlib import Path
from typing import Any

import torch

from eugen_fields.benchmark.common.results import run_name
from eugen_fields.benchmark.common.scoring import Scorer
from eugen_fields.benchmark.quality import train
from eugen_fields.benchmark.quality.transfer.rivals_table import (
    CLOSED_FORM,
    DISTILLED,
    DISTILLED_AS_LONG,
    FINE_TUNED,
    TEACHER,
    TRAINED,
    TRAINED_AS_LONG,
)
from eugen_fields.errors import InputError
from eugen_fields.fields import RadianceField
from eugen_fields.methods import METHODS
from eugen_fields.models import summary
from eugen_fields.models.nerf import NeRFModelConfig
from eugen_fields.runs.checkpoints import list_checkpoints
from eugen_fields.transfer.budget import field_bytes
from eugen_fields.transfer.finetune import finetune, finetune_optimizer
from eugen_fields.transfer.fit import transfer_field
from eugen_fields.transfer.options import TransferOptions
from eugen_fields.transfer.rays import training_rays
from eugen_fields.transfer.teacher import VANILLA, open_teacher


class Rivals:
    """A trained dense run, its rays, and the test views on which everything is scored.

    Args:
        folder: of the run.
        device: None takes CUDA if there is one.
        views: test views, evenly spread; 0 takes all.
        output: folder of the networks that are trained on the images.
    """

    def __init__(self, folder: Path, device: str | None, views: int, output: Path) -> None:
        self.teacher, self.config = open_teacher(folder, device, None, 128, METHODS)
        if self.teacher.method_name == VANILLA or type(self.config.pipeline.model) is not NeRFModelConfig:
            raise InputError(
                f"{folder} is a run of {self.teacher.method_name}; rivals are made for runs of eugen-nerf-tiny and "
                "other methods of its model. Give one of those, or --compare layers."
            )
        self.multiplications = summary.multiplications(self.teacher.field)
        self._folder, self._views, self._output = folder, views, output
        self._scorer = Scorer(self.teacher, self.config, views)
        self._rays = training_rays(self.teacher, self.config)
        on_cpu = self.teacher.field.aabb.device.type == "cpu"
        self._clock = time.process_time if on_cpu else time.perf_counter  # other work on the CPUs does not count

    def narrow_width(self, budget: int) -> int:
        """The largest width at which a dense network has at most so many multiplications. Raises InputError where none
        has."""
        low, high = 0, int(self.teacher.field.trunk.layers[0].out_features)  # type: ignore[arg-type]
        while low < high:
            middle = (low + high + 1) // 2
            fits = summary.multiplications(self._narrow(middle, 0)) <= budget
            low, high = (middle, high) if fits else (low, middle - 1)
        if low == 0:
            least = summary.multiplications(self._narrow(1, 0))
            raise InputError(f"--multiplications {budget:,}: the narrowest dense network has {least:,}.")
        return low

    def measure(self, case: dict[str, Any], before: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Makes and scores the network of one case.

        Args:
            case: variant, budget, layer, projections, finetune_steps and seed, as in the JSON file.
            before: the measurements of the same budget and seed so far, by their variants.
        """
        variant, steps, seed = case["variant"], case["finetune_steps"], case["seed"]
        trained = self.teacher.step + 1
        if variant == TEACHER:
            return self._facts(self.teacher.field, trained, 0.0)
        if variant in (CLOSED_FORM, FINE_TUNED):
            return self._shrunk(case, steps if variant == FINE_TUNED else 0)
        width = self.narrow_width(case["budget"])
        if variant == TRAINED:
            return self._trained(width, trained + steps, seed)
        if variant == TRAINED_AS_LONG:
            return self._trained(width, _as_long(before[FINE_TUNED], before[TRAINED]), seed)
        if variant == DISTILLED_AS_LONG:
            steps = _as_long(before[FINE_TUNED], before[DISTILLED])
        return self._distilled(width, steps, seed)

    def _shrunk(self, case: dict[str, Any], steps: int) -> dict[str, Any]:
        options = TransferOptions(
            run=self._folder,
            layer=case["layer"],
            multiplications=case["budget"],
            projections=case["projections"],
            finetune_steps=steps,
            seed=case["seed"],
        )
        options.check()
        start = self._clock()
        made = transfer_field(self.teacher, self.config, self._rays, options)
        seconds = self._clock() - start
        facts = {"features": made.options.num_features, "replace": list(made.field.trunk.replace)}
        facts |= {"relative_error": made.report.relative_error, "closed_form_psnr": made.closed_form_psnr}
        return facts | self._facts(made.field, self.teacher.step + 1 + steps, seconds)

    def _distilled(self, width: int, steps: int, seed: int) -> dict[str, Any]:
        """A dense network that has seen nothing but the renders of the run."""
        field = self._narrow(width, seed)
        warmup = self.config.optimizers["fields"]["scheduler"].warmup_steps  # type: ignore[union-attr]
        start = self._clock()
        finetune(
            self.teacher.field, field, self._rays, steps, finetune_optimizer(self.config, "dense", steps, 1.0),
            num_samples=TransferOptions(run=self._folder).finetune_samples, seed=seed, warmup_steps=warmup,
        )  # fmt: skip
        return {"width": width} | self._facts(field, steps, self._clock() - start)

    def _trained(self, width: int, steps: int, seed: int) -> dict[str, Any]:
        """A dense network trained on the images as the run was."""
        config = copy.deepcopy(self.config)
        config.pipeline.model = self._narrow_config(width)
        config.max_num_iterations, config.machine.seed = steps, seed
        optimizers = config.optimizers["fields"]
        optimizers["optimizer"].lr = optimizers["optimizer"].adam_lr = 0.0  # those of so many steps
        optimizers["scheduler"].max_steps = 0  # type: ignore[union-attr]
        config.output_dir, config.timestamp = self._output, f"dense{width}-{steps}-seed{seed}"
        config.load_dir = config.load_step = config.load_checkpoint = None
        config.vis, config.logging.local_writer.enable = "tensorboard", False
        config.machine.device_type = self.teacher.field.aabb.device.type  # type: ignore[assignment]
        for _, path in list_checkpoints(config.get_checkpoint_dir()):
            path.unlink()  # of a run that was broken off
        start = self._clock()
        trainer, _ = train.train_run(config)
        seconds = self._clock() - start
        facts = self._facts(train.radiance_model(trainer).field, steps, seconds, score=False)  # type: ignore[arg-type]
        scores = train.score_run(trainer, views=self._views)
        return (
            {"width": width, "trained_run": run_name(config.get_base_dir())}
            | facts
            | {name: scores[name] for name in ("psnr", "ssim")}
        )

    def _narrow_config(self, width: int) -> NeRFModelConfig:
        config = self.config.pipeline.model
        assert isinstance(config, NeRFModelConfig)
        return dataclasses.replace(config, layer_width=width)

    def _narrow(self, width: int, seed: int) -> RadianceField:
        """An untrained dense field of another width."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._narrow_config(width).build_field(self.teacher.aabb.cpu()).to(self.teacher.field.aabb.device)

    def _facts(self, field: RadianceField, steps: int, seconds: float, *, score: bool = True) -> dict[str, Any]:
        facts = {
            "steps": steps,
            "seconds": seconds,
            "multiplications": summary.multiplications(field),
            "bytes": field_bytes(field),
        }
        return facts | (self._scorer.score(field) if score else {})


def _as_long(other: dict[str, Any], own: dict[str, Any]) -> int:
    """Steps that take as many seconds as all of another measurement, at the speed of one of one's own kind."""
    return max(1, round(other["seconds"] * own["steps"] / own["seconds"]))
