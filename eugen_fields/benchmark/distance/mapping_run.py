"""One map of a depth stream, measured while the stream goes by and at its end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from eugen_fields.benchmark.common.contestants import parse_options
from eugen_fields.benchmark.distance.evaluation import Evaluation
from eugen_fields.benchmark.quality.train import make_config, parameter_count, train_run
from eugen_fields.mapping.trainer import MappingTrainer
from eugen_fields.training.trainer import FieldTrainer


def map_stream(
    evaluation: Evaluation, *, clock: str, options: Sequence[str], device_type: str | None, **settings: Any
) -> dict[str, Any]:
    """Trains a map and returns what is measured of it: an entry of the JSON file.

    Args:
        clock: steps, wall or offline.
        options: flags of the model, as name=value.
        device_type: cpu or cuda; None takes the machine's own.
        settings: of make_config: method, scene, output, layer, steps, seed.
    """
    config = make_config(**settings, model_options=parse_options(options))
    config.pipeline.datamanager.clock = clock  # type: ignore[attr-defined]
    if device_type is not None:
        config.machine.device_type = device_type  # type: ignore[assignment]
    watcher = Watcher(evaluation)
    trainer, seconds = train_run(config, started=watcher.start)
    model: Any = trainer.pipeline.model
    frames = watcher.trainer.pipeline.datamanager.clock
    errors, field = evaluation.errors(model.field), model.field.folded()
    evaluation.learnt = field
    return {
        "visible_error_cm": errors["visible_cm"],
        "known_error_cm": errors["known_cm"],
        "surface_error_cm": errors["surface_cm"],
        "seconds": seconds - watcher.seconds,
        "steps": watcher.trainer.steps_done,
        "parameters": parameter_count(trainer),
        "multiplications": field.trunk.multiplications(),
        "learning_rate": config.optimizers["fields"]["optimizer"].lr,
        "frames": len(frames),
        "keyframes": len(frames.keyframes),
        "skipped_frames": frames.skipped,
        "device": str(model.device),
        "errors": errors,
        "eikonal_residual": evaluation.eikonal_residual(model.field),
        "mesh": evaluation.mesh_errors(model),
        "over_time": watcher.over_time,
    }


class Watcher:
    """Measures a map while its stream goes by; `seconds` is the time that this took."""

    trainer: MappingTrainer

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.over_time: list[dict[str, Any]] = []
        self.seconds = 0.0

    def start(self, trainer: FieldTrainer) -> None:
        """What train_run calls before the first step."""
        assert isinstance(trainer, MappingTrainer)
        self.trainer = trainer
        clock = trainer.pipeline.datamanager.clock
        if clock.mode != "offline":
            trainer.pipeline.frame_listeners.append(self._frame_done)
        wall = clock.now
        clock.now = lambda: wall() - self.seconds  # the stream waits while it is measured

    def _frame_done(self, frame: int) -> None:
        due = self.evaluation.due(frame, self.over_time)
        if due:
            start = time.perf_counter()
            field = self.trainer.pipeline.map.field.folded()
            self.over_time.append(self.evaluation.at_frame(field.evaluate, frame))
            self.seconds += time.perf_counter() - start
