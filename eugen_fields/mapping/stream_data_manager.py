"""A posed depth stream as nerfstudio's data manager: rays through the frames that the clock has come to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from torch import Tensor

from eugen_fields.data.checks import check_scene
from eugen_fields.data.depth.depth_dataset import DepthStreamDataset
from eugen_fields.data.depth.depth_parser import DepthStreamDataParser, DepthStreamDataParserConfig
from eugen_fields.data.depth.depth_streams import DepthStream
from eugen_fields.errors import InputError
from eugen_fields.mapping.frame_clock import ClockMode, FrameClock
from eugen_fields.mapping.keyframes import count_frames
from eugen_fields.runs.opened import check_interpolation
from eugen_fields.runs.scene import place_opened_scene
from eugen_fields.sampling import DepthRays, depth_rays

_WALL_STEPS = 1_000_000
_OFFLINE_STEPS = 2_000
_CLOUD_POINTS_PER_FRAME = 512


@dataclass
class StreamDataManagerConfig(VanillaDataManagerConfig):
    """Frames in order, keyframes, and rays through some of them at each step."""

    _target: type = field(default_factory=lambda: StreamDataManager)
    clock: ClockMode = "steps"
    """When the next frame comes. steps: after a number of steps, the same on every machine. wall: at the speed at which
    the stream was recorded; frames that come too fast are skipped. offline: all frames are there from the start."""
    speed: float = 1.0
    """Playback speed with --clock wall: seconds of the stream per second."""
    first_frame_steps: int = 200
    """Number of steps for the first frame."""
    steps_per_frame: int = 10
    """Number of steps for every later frame."""
    steps_per_keyframe: int = 60
    """Number of additional steps for a frame that becomes a keyframe."""
    keyframe_agreement: float = 0.65
    """Smallest share of a frame's rays that the map must agree with, within a tenth of the depth; a frame with less
    becomes a keyframe."""
    keyframe_seconds: float = 5.0
    """Longest time between keyframes, seconds of the stream."""
    keyframe_rays: int = 400
    """Rays sampled per frame for the keyframe test."""
    num_replayed: int = 3
    """Number of earlier keyframes in each step beside the newest two frames, drawn in proportion to their loss."""
    rays_per_frame: int = 200
    """Rays per frame of a training step."""
    surface_points_per_frame: int = 100
    """Additional surface points per frame that bound the distances of samples; they cost no evaluation."""
    cloud_points: int = 8192
    """Surface points of all keyframes together that also bound the distances of samples. 0: only points of the frames
    of a step, as in iSDF."""
    min_depth: float = 0.07
    """Smallest depth, metres; smaller ones are ignored."""

    def stream_parser(self, data: Path | None) -> DepthStreamDataParser:
        """The data parser, set up for a recording; None: the parser's own. Raises InputError where it is a parser of
        other data."""
        parser = self.dataparser
        if not isinstance(parser, DepthStreamDataParserConfig):
            name = type(parser).__name__.removesuffix("DataParserConfig")
            raise InputError(
                f"the {name} parser has no depth, which signed distances are trained on. Put `depth-stream` at the end "
                "of the command in its place."
            )
        if data is not None:
            parser.data = Path(data)
        return parser.setup()

    def check_data(self, data: Path | None) -> None:
        """Checks what training reads. Raises InputError naming the file, what was found and what would do."""
        self.stream_parser(None)
        check_scene(self.dataparser, data, ("train", "val"))

    def check_numbers(self) -> None:
        """Raises ValueError where a flag is out of range."""
        for name in ("first_frame_steps", "steps_per_frame", "keyframe_rays", "rays_per_frame"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("steps_per_keyframe", "num_replayed", "surface_points_per_frame", "cloud_points"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name in ("speed", "min_depth", "keyframe_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        if not 0 <= self.keyframe_agreement <= 1:
            raise ValueError(f"keyframe_agreement is {self.keyframe_agreement}; it must lie between 0 and 1")

    def make_clock(self, stream: DepthStream, total_steps: int | None = None) -> FrameClock:
        """A clock with these settings, at the first frame."""
        return FrameClock(
            timestamps=stream.timestamps.tolist(),
            mode=self.clock,
            first_frame_steps=self.first_frame_steps,
            steps_per_frame=self.steps_per_frame,
            steps_per_keyframe=self.steps_per_keyframe,
            total_steps=total_steps,
            least_agreement=self.keyframe_agreement,
            longest=self.keyframe_seconds,
            speed=self.speed,
        )

    def usual_steps(self, data: Path | None) -> int:
        """Number of steps that a recording takes; with "steps" a sixth of the frames can become keyframes."""
        if self.clock == "wall":
            return _WALL_STEPS
        if self.clock == "offline":
            return _OFFLINE_STEPS
        stream = self.stream_parser(data).stream()
        return self.make_clock(stream).least_steps() + self.steps_per_keyframe * math.ceil(len(stream) / 6)


class StreamDataManager(VanillaDataManager[DepthStreamDataset]):
    """A VanillaDataManager (nerfstudio's exporters ask for one) over a depth stream.

    Attributes:
        stream: all frames.
        clock: which of them the map has come to; the pipeline moves it.
    """

    config: StreamDataManagerConfig
    dataparser: DepthStreamDataParser
    fixed_indices_eval_dataloader: FixedIndicesEvalDataloader

    def __init__(
        self,
        config: StreamDataManagerConfig,
        device: Any = "cpu",
        test_mode: Literal["test", "val", "inference"] = "val",
        **kwargs: Any,
    ) -> None:
        place_opened_scene(config)
        if test_mode != "val":
            config.check_data(config.data)
        super().__init__(config, device, test_mode, **kwargs)
        check_interpolation(len(self.train_dataset), len(self.eval_dataset))
        self.clock = config.make_clock(self.stream)
        self._clouds: dict[int, tuple[Tensor, Tensor]] = {}
        self._on_gpu: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    @property
    def stream(self) -> DepthStream:
        return self.dataparser.stream()

    def create_train_dataset(self) -> DepthStreamDataset:
        return self._dataset(self.train_dataparser_outputs)

    def create_eval_dataset(self) -> DepthStreamDataset:
        return self._dataset(self.dataparser.get_dataparser_outputs(split=self.test_split))

    def _dataset(self, outputs: Any) -> DepthStreamDataset:
        return DepthStreamDataset(outputs, self.stream, self.config.camera_res_scale_factor)

    def setup_train(self) -> None:
        """Training reads the stream, not the colour images: none is loaded."""
        assert self.train_dataset is not None
        num_rays = self.config.rays_per_frame * (2 + self.config.num_replayed)
        self.train_pixel_sampler = self._get_pixel_sampler(self.train_dataset, num_rays)  # exporters set its rays

    def setup_eval(self) -> None:
        assert self.eval_dataset is not None
        self.eval_pixel_sampler = self._get_pixel_sampler(self.eval_dataset, self.config.eval_num_rays_per_batch)
        loaders = {"input_dataset": self.eval_dataset, "device": self.device, "num_workers": 1}
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(**loaders)
        self.eval_dataloader = RandIndicesEvalDataloader(**loaders)

    def draw(self, frames: list[int], per_frame: int) -> DepthRays:
        """Rays through random pixels that have a depth; their `frames` are places in the list that was given."""
        depths, intrinsics, poses = zip(*map(self._on_device, frames))
        return depth_rays(
            torch.stack(depths),
            torch.stack(intrinsics),
            torch.stack(poses),
            torch.arange(len(frames), device=self.device),
            per_frame,
            min_depth=self.config.min_depth,
        )

    def _on_device(self, frame: int) -> tuple[Tensor, Tensor, Tensor]:
        """Depth image, intrinsics and pose of a frame. A GPU keeps those that steps come back to: the keyframes and the
        current frame."""
        if frame in self._on_gpu:
            return self._on_gpu[frame]
        stream = self.stream
        cpu = stream.depth(frame), stream.intrinsics[frame], stream.poses[frame]
        depth, intrinsics, pose = (value.to(self.device) for value in cpu)
        known = self.clock.known_frames()
        if depth.device.type != "cpu" and frame in known:
            self._on_gpu = {kept: values for kept, values in self._on_gpu.items() if kept in known}
            self._on_gpu[frame] = depth, intrinsics, pose
        return depth, intrinsics, pose

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Any]]:
        """Rays (R,) through the frames of the next step, and what they saw.

        The bundle's metadata has "distances" (R, 1), metres. The batch: "distances" (R,), "normals" (R, 3), "frames"
        (R,), indices in the stream, and "surface", "surface_normals" (M, 3), M >= R, all points seen by the step.
        """
        self.train_count += 1
        chosen = self.clock.choose(count=self.config.num_replayed)
        if not chosen:  # the run is finished and being exported: all of the stream is there
            chosen = torch.randperm(len(self.stream))[: 2 + self.config.num_replayed].tolist()
        assert self.train_pixel_sampler is not None
        return self._batch(chosen, self.train_pixel_sampler.num_rays_per_batch // (2 + self.config.num_replayed))

    def _cloud(self) -> tuple[Tensor, Tensor]:
        """Surface points (P, 3) of the keyframes and their normals (P, 3), equally many of each."""
        points = normals = torch.zeros(0, 3, device=self.device)
        keyframes = self.clock.keyframes
        per_frame = min(self.config.cloud_points // max(1, len(keyframes)), _CLOUD_POINTS_PER_FRAME)
        if per_frame == 0 or not keyframes:
            return points, normals
        for frame in keyframes:
            if frame not in self._clouds:
                rays = self.draw([frame], _CLOUD_POINTS_PER_FRAME)
                self._clouds[frame] = rays.surface(), rays.normals
        clouds = [self._clouds[frame] for frame in keyframes]
        points, normals = (torch.cat([cloud[part][:per_frame] for cloud in clouds]) for part in (0, 1))
        return points, normals

    def next_eval(self, step: int) -> tuple[RayBundle, dict[str, Any]]:
        """Rays and what they saw, as from next_train, for random frames of the whole stream."""
        self.eval_count += 1
        assert self.eval_pixel_sampler is not None
        chosen = torch.randperm(len(self.stream))[:5].tolist()
        return self._batch(chosen, max(1, self.eval_pixel_sampler.num_rays_per_batch // len(chosen)))

    def _batch(self, chosen: list[int], per_frame: int) -> tuple[RayBundle, dict[str, Any]]:
        extra = self.config.surface_points_per_frame
        seen = self.draw(chosen, per_frame + extra)
        rays = _every_frame(seen, per_frame, len(chosen))
        frames = torch.tensor(chosen, device=rays.frames.device)[rays.frames]
        bundle = RayBundle(
            origins=rays.origins,
            directions=rays.directions,
            pixel_area=torch.zeros_like(rays.origins[:, :1]),
            camera_indices=frames[:, None],
            metadata={"distances": rays.distances[:, None]},
        )
        points, normals = self._cloud()
        surface = {
            "surface": torch.cat([seen.surface(), points]),
            "surface_normals": torch.cat([seen.normals, normals]),
        }
        return bundle, {"distances": rays.distances, "normals": rays.normals, "frames": frames} | surface


def _every_frame(rays: DepthRays, per_frame: int, num_frames: int) -> DepthRays:
    """The first `per_frame` rays of each of so many frames, of rays that are ordered by frame."""
    counts = count_frames(rays.frames, num_frames)
    first = (counts.cumsum(0) - counts)[rays.frames]
    kept = (torch.arange(len(rays.frames), device=rays.frames.device) - first < per_frame).nonzero()[:, 0]
    return DepthRays(*(values[kept] for values in rays))
