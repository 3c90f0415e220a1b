"""A trainer that knows how long depth streams take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from nerfstudio.utils.rich_utils import CONSOLE

from eugen_fields.errors import InputError
from eugen_fields.mapping.pipeline import MappingPipeline
from eugen_fields.mapping.stream_data_manager import StreamDataManagerConfig
from eugen_fields.models.protocols import ModelFlags
from eugen_fields.training.trainer import FieldTrainer, FieldTrainerConfig


@dataclass
class MappingTrainerConfig(FieldTrainerConfig):
    """Training on a depth stream."""

    _target: type = field(default_factory=lambda: MappingTrainer)
    max_num_iterations: int = 0
    """Number of training steps. Steps beyond the end of the stream train on the keyframes. 0: as many as the stream
    takes, with time for a sixth of its frames to become keyframes."""

    def prepare(self) -> None:
        """Checks and fills in what FieldTrainerConfig does, and the number of steps."""
        manager = self.pipeline.datamanager
        assert isinstance(manager, StreamDataManagerConfig)
        try:
            manager.check_numbers()
        except ValueError as error:
            raise InputError(f"--pipeline.datamanager.* flags: {error}.") from None
        if manager.clock == "wall" and cast(ModelFlags, self.pipeline.model).dense_start:
            raise InputError(
                "--pipeline.model.dense-start is a share of the training steps, whose number --pipeline.datamanager."
                "clock wall leaves open. Leave one of them out."
            )
        for name in ("num_devices", "num_machines"):
            number = getattr(self.machine, name)
            if number > 1:
                flag = f"--machine.{name.replace('_', '-')}"
                raise InputError(f"{flag} {number}: a stream takes one device. Leave the flag out.")
        if self.max_num_iterations == 0:
            data = self.data if self.data is not None else manager.data
            self.max_num_iterations = manager.usual_steps(data)
        super().prepare()


class MappingTrainer(FieldTrainer):
    """Trains on a depth stream; with the wall clock, training stops when the stream ends."""

    config: MappingTrainerConfig
    pipeline: MappingPipeline
    _last_step = -1

    @property
    def steps_done(self) -> int:
        """Number of training steps so far."""
        return self._last_step + 1

    def train(self) -> None:
        clock, total = self.pipeline.datamanager.clock, self.config.max_num_iterations
        if clock.mode == "steps":
            clock.total_steps = total
            if total < clock.least_steps():
                CONSOLE.print(
                    f"--max-num-iterations {total}: the {len(clock)} frames take at least {clock.least_steps()} steps; "
                    "the last ones will not be seen."
                )
        super().train()

    def train_iteration(self, step: int):  # type: ignore[override]
        result = super().train_iteration(step)
        self._last_step = step
        clock = self.pipeline.datamanager.clock
        if clock.mode == "wall" and clock.ended:
            self.stop_training = True
        return result

    def _after_train(self) -> None:
        self.step = self._last_step  # where training stops early, nerfstudio has counted one step more
        self.pipeline.finish()
        super()._after_train()
        clock = self.pipeline.datamanager.clock
        seen = len(clock) if clock.ended else clock.current + 1
        CONSOLE.print(
            f"{seen} of {len(clock)} frames came, {clock.skipped} were skipped, {len(clock.keyframes)} are keyframes."
        )
