"""Mapping a depth stream: the pipeline that moves the frame clock, and a trainer that knows how long streams take."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE

from eugen_fields.errors import InputError
from eugen_fields.fields.sdf import SDFField
from eugen_fields.models.isdf import ISDFModel
from eugen_fields.sampling import depth_agreement, frame_losses
from eugen_fields.training.map_view import MapView
from eugen_fields.training.pipeline import SharedWeightsPipeline
from eugen_fields.training.stream_data_manager import StreamDataManager, StreamDataManagerConfig
from eugen_fields.training.trainer import FieldTrainer, FieldTrainerConfig

_STREAM = "stream"
"""Name of the clock's state in checkpoints."""


@dataclass
class MappingPipelineConfig(VanillaPipelineConfig):
    """A depth stream and the map that it makes."""

    _target: type = field(default_factory=lambda: MappingPipeline)


class MappingPipeline(SharedWeightsPipeline):
    """Before each step the clock moves on; keyframes are frames that the map, as it was after the last one, does not
    explain.

    Attributes:
        frame_listeners: called with the index of each frame that is done.
        map_view: what nerfstudio's viewer shows of the map beside its render.
    """

    config: MappingPipelineConfig
    datamanager: StreamDataManager

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.map_view = MapView(self.map, self.datamanager)
        self.frame_listeners: list[Callable[[int], None]] = []
        self._explained: SDFField | None = None
        self._looked_at: set[int] = set()

    @property
    def map(self) -> ISDFModel:
        assert isinstance(self.model, ISDFModel)
        return self.model

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        clock = self.datamanager.clock
        clock.before_step(step, self._agreement, self._frame_done)
        self._look_at(clock.known_frames())
        bundle, batch = self.datamanager.next_train(step)
        outputs = self._model(bundle)
        losses = self.model.get_loss_dict(outputs, batch)
        means, counts = frame_losses(outputs["ray_loss"], batch["frames"], len(clock))
        looked_at = counts.nonzero()[:, 0].tolist()
        clock.record({frame: float(means[frame]) for frame in looked_at})
        metrics = {"frame": clock.current, "keyframes": len(clock.keyframes), "skipped_frames": clock.skipped}
        return outputs, losses, metrics

    def finish(self) -> None:
        """To be called when training ends: the current frame is done."""
        self.datamanager.clock.finish(self._frame_done)

    def _look_at(self, frames: list[int]) -> None:
        """Remembers what frames saw that are new."""
        stream = self.datamanager.stream
        for frame in frames:
            if frame not in self._looked_at:
                self._looked_at.add(frame)
                self.map.seen.add(stream.points(frame, stride=2).to(self.device))
                view = (stream.depth(frame), stream.intrinsics[frame], stream.poses[frame])
                self.map.seen.look(*(part.to(self.device) for part in view))

    def _frame_done(self, frame: int, is_keyframe: bool) -> None:
        if is_keyframe and self.datamanager.clock.clock != "offline":
            self._explained = copy.deepcopy(self.map.field).requires_grad_(False)
        for listener in self.frame_listeners:
            listener(frame)

    @torch.no_grad()
    def _agreement(self, frame: int) -> float:
        """Share of a frame's rays that the map after the last keyframe explains."""
        rays = self.datamanager.draw([frame], self.datamanager.config.keyframe_rays)
        explained = self._explained or self.map.field  # a resumed run has the map as it is now
        depth, hit = self.map.trace(explained.folded(), rays.origins, rays.directions)
        return depth_agreement(depth, hit, rays.distances)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super().state_dict(*args, **kwargs) | {_STREAM: self.datamanager.clock.state_dict()}

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        super().load_pipeline(loaded_state, step)
        if _STREAM in loaded_state:
            self.datamanager.clock.load_state_dict(loaded_state[_STREAM])


@dataclass
class MappingTrainerConfig(FieldTrainerConfig):
    """Training on a depth stream."""

    _target: type = field(default_factory=lambda: MappingTrainer)
    max_num_iterations: int = 0
    """Steps in all; those beyond the end of the stream go on over the keyframes. 0: as many as the stream takes, with
    time for a sixth of its frames to become keyframes."""

    def prepare(self) -> None:
        """As in FieldTrainerConfig, and fills in the number of steps."""
        manager: StreamDataManagerConfig = self.pipeline.datamanager  # type: ignore[assignment]
        try:
            manager.check_numbers()
        except ValueError as error:
            raise InputError(f"--pipeline.datamanager.* flags: {error}.") from None
        if self.machine.num_devices > 1:
            raise InputError(
                f"--machine.num-devices {self.machine.num_devices}: a stream takes one device. Leave the flag out."
            )
        if self.max_num_iterations == 0:
            data = self.data if self.data is not None else manager.data
            self.max_num_iterations = manager.usual_steps(data)
        super().prepare()


class MappingTrainer(FieldTrainer):
    """Stops when the stream does, where that is what the clock goes by."""

    config: MappingTrainerConfig
    pipeline: MappingPipeline
    _last_step = -1

    @property
    def steps_done(self) -> int:
        """Steps of training so far."""
        return self._last_step + 1

    def train(self) -> None:
        clock, total = self.pipeline.datamanager.clock, self.config.max_num_iterations
        if clock.clock == "steps":
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
        if clock.clock == "wall" and clock.ended:
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
