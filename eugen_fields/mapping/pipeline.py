"""Mapping a depth stream: the pipeline that moves the frame clock."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

from eugen_fields.fields.sdf import SDFField
from eugen_fields.mapping.keyframes import depth_agreement, frame_losses
from eugen_fields.mapping.stream_data_manager import StreamDataManager
from eugen_fields.models.isdf import ISDFModel
from eugen_fields.training.pipeline import SharedWeightsPipeline

_STREAM = "stream"
"""Name of the clock's state in checkpoints."""


@dataclass
class MappingPipelineConfig(VanillaPipelineConfig):
    """A depth stream and the map that is trained on it."""

    _target: type = field(default_factory=lambda: MappingPipeline)


class MappingPipeline(SharedWeightsPipeline):
    """Moves the frame clock before each step. A frame becomes a keyframe where the map, as it was after the last
    keyframe, does not agree with it.

    Attributes:
        frame_listeners: functions that are called with the index of each frame that is done.
    """

    config: MappingPipelineConfig
    datamanager: StreamDataManager

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
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
        both = torch.stack([means, counts.to(means)]).tolist()
        clock.record({frame: mean for frame, (mean, count) in enumerate(zip(*both)) if count > 0})
        metrics = {"frame": clock.current, "keyframes": len(clock.keyframes), "skipped_frames": clock.skipped}
        return outputs, losses, metrics

    def finish(self) -> None:
        """Ends the turn of the current frame; to be called when training ends."""
        self.datamanager.clock.finish(self._frame_done)

    def _look_at(self, frames: list[int]) -> None:
        """Adds what new frames saw to the cells that count as seen."""
        stream = self.datamanager.stream
        for frame in frames:
            if frame not in self._looked_at:
                self._looked_at.add(frame)
                self.map.seen.add(stream.points(frame, stride=2).to(self.device))
                view = (stream.depth(frame), stream.intrinsics[frame], stream.poses[frame])
                self.map.seen.look(*(part.to(self.device) for part in view))

    def _frame_done(self, frame: int, is_keyframe: bool) -> None:
        if is_keyframe and self.datamanager.clock.mode != "offline":
            self._explained = copy.deepcopy(self.map.field).requires_grad_(False)
        for listener in self.frame_listeners:
            listener(frame)

    @torch.no_grad()
    def _agreement(self, frame: int) -> float:
        """Share of a frame's rays whose depth agrees with the map as it was after the last keyframe."""
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
