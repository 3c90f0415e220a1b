"""From recordings on disk to depth streams: every frame is checked once, and unusable frames are left out."""

from __future__ import annotations

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from eugen_fields.data.cameras.placing import MOVE, check_precision
from eugen_fields.data.cameras.poses import read_pose
from eugen_fields.data.depth.depth_checks import Units, check_units
from eugen_fields.data.depth.depth_images import DepthImageError, default_scale, read_units, to_metres
from eugen_fields.data.depth.depth_layouts import FLIP, RecordedFrame, Recording, read_recording
from eugen_fields.data.depth.depth_streams import DepthStream, ray_lengths
from eugen_fields.errors import InputError

_IN_MEMORY_BYTES = 2 << 30
"""Streams up to this size stay in memory; of larger ones the frames are read when they are asked for."""
_PROGRESS_FROM = 200
"""Number of frames from which reading them shows a progress bar."""

_BAD_POSE = "with a pose that is missing, not finite or not rigid"
_BAD_IMAGE = "without a depth image that can be used"
_NO_DEPTH = "without any depth"
_TOO_FAR = "without any depth up to --max-depth"


@dataclass
class FrameCheck:
    """What was found in one frame of a recording."""

    problem: str = ""
    """Why the frame cannot be used, as warnings say it; empty: it can."""
    detail: str = ""
    """What exactly is wrong with its depth image or its pose."""
    pose: np.ndarray | None = None
    """(4, 4) OpenGL camera-to-world, metres."""
    median: float = math.nan
    """Median of the depths, metres; NaN where there are none."""
    depth: np.ndarray | None = None
    """Depth image in metres, if it is to stay in memory."""


def read_depth_stream(
    data: Path,
    *,
    depth_unit_scale_factor: float | None = None,
    pose_scale: float = 1.0,
    camera_axes: Literal["auto", "opengl", "opencv"] = "auto",
    depth_along: Literal["axis", "ray"] = "axis",
    inverted_poses: bool = False,
    camera_file: Path | None = None,
    noisy_depth: bool = False,
    max_depth: float = math.inf,
    fps: float = 30.0,
) -> DepthStream:
    """A recording in any of the layouts of depth_layouts, checked, without the frames that cannot be used.

    Frames without a readable depth image, without any depth in it, or without a finite rigid pose are left out, with
    one warning for all of them.

    Args:
        data: folder, or transforms file.
        depth_unit_scale_factor: metres per unit of the depth images; None: what the recording says, else 0.001 for
            whole numbers and 1 for floats.
        pose_scale: metres per unit of the poses' translations.
        camera_axes: of the poses; auto: those of the layout.
        depth_along: what the images hold: distance along the optical axis, or along rays from the camera's centre.
        inverted_poses: the file's matrices are world-to-camera.
        camera_file: JSON with the camera, for layouts without one.
        noisy_depth: of a folder with traj.txt, read results/ndepth*.
        max_depth: metres; what is farther counts as no depth.
        fps: frames per second of a recording without timestamps.

    Raises:
        InputError: naming the file or flag, what was found and what would do.
    """
    positive = {"depth-unit-scale-factor": depth_unit_scale_factor, "pose-scale": pose_scale, "max-depth": max_depth}
    for name, value in (positive | {"fps": fps}).items():
        if value is not None and not value > 0:
            raise InputError(f"--{name} {value}: it must be above 0.")
    recording = read_recording(data, camera_file, noisy_depth)
    axes = recording.axes if camera_axes == "auto" else camera_axes
    frames = recording.frames
    first = _first_image(recording)
    height, width = first.shape
    scale = depth_unit_scale_factor or recording.scale or default_scale(first)
    in_memory = len(frames) * first.size * 4 <= _IN_MEMORY_BYTES

    def check(frame: RecordedFrame) -> FrameCheck:
        found = FrameCheck()
        if frame.pose is not None:
            found.pose = _camera_to_world(frame.pose, axes, inverted_poses)
            found.pose[:3, 3] *= pose_scale
        try:
            units = _read_frame(frame)
            if units.shape != (height, width):
                raise DepthImageError(f"has {units.shape[1]}x{units.shape[0]} pixels, the first {width}x{height}")
        except DepthImageError as error:
            found.problem, found.detail = _BAD_IMAGE, str(error)
            return found
        depth = to_metres(units, scale)
        if depth_along == "ray":
            depth /= ray_lengths(tuple(_intrinsics(recording, [frame], width, height)[0].tolist()), width, height)
        if depth.any():
            found.median = float(np.median(depth[depth > 0]))
        else:
            found.problem = _NO_DEPTH
        if not found.problem:
            found.detail = _wrong_with(found.pose)
            found.problem = _BAD_POSE if found.detail else ""
        depth[depth > max_depth] = 0
        if not (found.problem or depth.any()):
            found.problem = _TOO_FAR
        elif not found.problem and in_memory:
            found.depth = depth
        return found

    with ThreadPoolExecutor() as pool:
        checks = list(
            tqdm(pool.map(check, frames), total=len(frames), desc="Reading depth", disable=len(frames) < _PROGRESS_FROM)
        )

    def stream_of(kept: list[int], limit: float, in_memory: bool) -> DepthStream:
        chosen = [frames[index] for index in kept]
        depths = [checks[index].depth for index in kept]
        return DepthStream(
            poses=torch.from_numpy(np.stack([checks[index].pose for index in kept])).float(),  # type: ignore[arg-type]
            intrinsics=_intrinsics(recording, chosen, width, height),
            timestamps=torch.from_numpy(times[kept]),
            width=width,
            height=height,
            depth_paths=[frame.depth_path for frame in chosen],  # type: ignore[misc]
            color_paths=None,
            depth_unit_scale_factor=scale,
            max_depth=limit,
            along=depth_along,
            depths=torch.from_numpy(np.stack(depths)) if in_memory else None,  # type: ignore[arg-type]
        )

    times = _timestamps(recording, fps)
    in_order = [int(index) for index in np.argsort(times, kind="stable")]
    whole = [index for index in in_order if checks[index].problem in ("", _TOO_FAR)]
    if whole:
        positions = np.stack([checks[index].pose[:3, 3] for index in whole])  # type: ignore[index]
        check_precision(positions, recording.source, MOVE)
        read = Units(recording.source, scale, pose_scale, axes, depth_along, inverted_poses)
        medians = np.array([found.median for found in checks])
        check_units(read, stream_of(whole, math.inf, in_memory and max_depth == math.inf), medians)
    _name_unusable(recording, checks)
    kept = [index for index in in_order if not checks[index].problem]
    stream = stream_of(kept, max_depth, in_memory)
    stream.color_paths = _color_paths(recording.source, [frames[index] for index in kept])
    return stream


def _camera_to_world(pose: np.ndarray, axes: str, inverted: bool) -> np.ndarray:
    """A pose of a file as camera-to-world with OpenGL axes, whatever it holds."""
    if inverted:
        try:
            pose = np.linalg.inv(pose)
        except np.linalg.LinAlgError:
            pose = np.full((4, 4), np.nan)
    return pose @ FLIP if axes == "opencv" else pose.copy()


def _read_frame(frame: RecordedFrame) -> np.ndarray:
    if frame.depth_path is None:
        raise DepthImageError("is not named")
    return read_units(frame.depth_path)


def _first_image(recording: Recording) -> np.ndarray:
    """The first depth image that can be read, in its units; its shape must go with the camera's."""
    reason = ""
    for frame in recording.frames:
        try:
            image = _read_frame(frame)
        except DepthImageError as error:
            reason = reason or f"{_name(frame)} {error}"
            continue
        height, width = image.shape
        if abs(width * recording.height / (height * recording.width) - 1) > 0.01:
            raise InputError(
                f"the depth image {frame.depth_path} has {width}x{height} pixels, the camera of {recording.source} "
                f"{recording.width}x{recording.height}. They may differ in size, but must have one shape."
            )
        return image
    raise InputError(f"{recording.source}: none of its {len(recording.frames)} depth images can be used. {reason}.")


def _name(frame: RecordedFrame) -> str:
    return f"the depth image {frame.depth_path}" if frame.depth_path else "the depth image"


def _wrong_with(pose: np.ndarray | None) -> str:
    """Why a pose cannot be used; empty where it can."""
    if pose is None:
        return "there is none"
    try:
        read_pose(pose, "")
    except InputError as error:
        return error.message.removeprefix(": ")
    return ""


def _timestamps(recording: Recording, fps: float) -> np.ndarray:
    """Times (frames,) in seconds: those of the recording, or by the position of each frame in it."""
    if recording.frames[0].timestamp is None:
        return np.arange(len(recording.frames)) / fps
    return np.array([frame.timestamp for frame in recording.frames], dtype=np.float64)


def _name_unusable(recording: Recording, checks: list[FrameCheck]) -> None:
    """One warning says how many frames cannot be used, and why. Raises InputError where none can."""
    problems: dict[str, list[int]] = {}
    for index, found in enumerate(checks):
        if found.problem:
            problems.setdefault(found.problem, []).append(index)
    skipped = sum(map(len, problems.values()))
    if not skipped:
        return
    reasons = []
    for problem, indices in problems.items():
        first, detail = recording.frames[indices[0]], checks[indices[0]].detail
        which = f"frame {indices[0]}" + (f", {first.depth_path}" if first.depth_path else "")
        if detail:
            which += f", which {detail}" if problem == _BAD_IMAGE else f": {detail.rstrip('.')}"
        reasons.append(f"{len(indices)} {problem} (first: {which})")
    if skipped == len(checks):
        raise InputError(f"{recording.source}: none of its {skipped} frames can be used: {'; '.join(reasons)}.")
    message = f"{recording.source}: skipped {skipped} of {len(checks)} frames: {'; '.join(reasons)}."
    warnings.warn(message, stacklevel=3)


def _intrinsics(
    recording: Recording, frames: list[RecordedFrame], width: int, height: int
) -> Float[Tensor, "frames 4"]:
    """Intrinsics of the depth images, which may be smaller or larger than the size that the camera is given for."""
    across, down = width / recording.width, height / recording.height
    return torch.tensor([frame.intrinsics for frame in frames]) * torch.tensor([across, down, across, down])


def _color_paths(source: Path, frames: list[RecordedFrame]) -> list[Path] | None:
    """The colour images if every frame has one on disk; a warning if only some have."""
    there = [path for frame in frames if (path := frame.color_path) is not None and path.is_file()]
    if len(there) == len(frames):
        return there
    if there or any(frame.color_path for frame in frames):
        missing = next(frame for frame in frames if frame.color_path is None or not frame.color_path.is_file())
        message = (
            f"{source}: {len(frames) - len(there)} of {len(frames)} frames have no colour image on disk (first: that "
            f"of {missing.depth_path}). The stream goes on without colour."
        )
        warnings.warn(message, stacklevel=3)
    return None
