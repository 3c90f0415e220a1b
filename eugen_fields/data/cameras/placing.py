"""Where a data parser places the cameras of a file: turned upright, centred and scaled, with the way back kept.

nerfstudio does the same in float32 on whole coordinates, turns by the wrong rows where "pca" is asked for (1.1.5), and
divides by zero where all cameras stand at one place. Here a placement is found in float64.

World: the coordinates of the file's poses, before what the file says was applied to them. Scene: those of the training.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs, transform_poses_to_original_space
from torch import Tensor

from eugen_fields.data.cameras.poses import spread
from eugen_fields.errors import InputError

Orientation = Literal["pca", "up", "vertical", "none"]
Center = Literal["poses", "focus", "none"]

CENTRE = "Add `--center-method poses` at the end of the command."
MOVE = "Subtract the same offset from the places of all cameras, and keep it to add to what is exported."
_PARALLEL = 1e4
"""Condition number of the equations of the nearest point to all optical axes above which they count as parallel."""
_STEADY = 0.17
"""Cosine of 80 degrees. Where the x axes of the cameras differ from the horizon by less than this, it is well known
(nerfstudio's limit)."""


@dataclass(frozen=True)
class Placement:
    """scene = scale * (transform [world; 1])."""

    transform: Float[np.ndarray, "3 4"]
    scale: float

    def places(self, poses: Float[np.ndarray, "cameras 4 4"]) -> Float[np.ndarray, "cameras 3"]:
        """Where cameras of the world are in the scene."""
        return self.scale * (self.transform @ poses[:, :, 3, None])[..., 0]

    def cameras(self, poses: Float[np.ndarray, "cameras 4 4"]) -> Float[Tensor, "cameras 3 4"]:
        """Poses of the world as poses of the scene, float32."""
        placed = self.transform @ poses
        placed[:, :, 3] *= self.scale
        return torch.from_numpy(placed).float()

    def before(self, applied: Float[np.ndarray, "3 4"], applied_scale: float) -> Placement:
        """From the world that it was in before saved = applied_scale * (applied [world; 1])."""
        turn, shift = self.transform[:, :3], self.transform[:, 3]
        transform = turn @ applied
        transform[:, 3] += shift / applied_scale
        return Placement(transform, self.scale * applied_scale)


def check_precision(positions: Float[np.ndarray, "cameras 3"], source: Path, advice: str) -> None:
    """Cameras are not so far from the origin that float32, which training computes in, cannot tell them apart.

    Args:
        positions: where they are in the scene.
        source: the file they are from, for the message.
        advice: what would do.

    Raises:
        InputError: float32 has steps of more than a thousandth of the largest distance between cameras there.
    """
    far, extent = float(np.abs(positions).max()), float(np.ptp(positions, axis=0).max())
    step = far * float(np.finfo(np.float32).eps)
    if step > 1e-3 * extent and (spread(positions) or step > 1e-3):  # at one place, there is nothing to tell apart
        raise InputError(
            f"{source}: the cameras stand {extent:.3g} apart, but up to {far:.4g} from the origin, where float32, in "
            f"which training computes, has steps of {step:.2g}. {advice}"
        )


def place_cameras(
    poses: Float[np.ndarray, "cameras 4 4"],
    orientation: Orientation,
    center: Center,
    auto_scale: bool,
    scale_factor: float,
) -> Placement:
    """Finds the placement that nerfstudio's options of these names ask for.

    Args:
        poses: camera-to-world of all cameras of the file, OpenGL axes.
        orientation: up: the mean of the cameras' up vectors becomes z. vertical: z is the direction that is upright in
            all images. pca: x, y and z are the principal directions of the cameras' places, largest first.
        center: what becomes the origin: the mean of the places, or the point nearest to all optical axes.
        auto_scale: scale so that the largest coordinate of a camera is 1.
        scale_factor: on top of that.
    """
    mean = poses[:, :3, 3].mean(axis=0)
    middle = {"poses": mean, "none": np.zeros(3)}.get(center)
    if middle is None:
        middle = _focus(poses, mean)
    turn = np.eye(3) if orientation == "none" else _upright(poses, orientation)
    transform = np.concatenate([turn, -(turn @ middle)[:, None]], axis=1)
    largest = float(np.abs((transform @ poses)[:, :, 3]).max())
    scale = scale_factor
    if auto_scale and (not spread(poses[:, :3, 3]) or largest == 0):
        warnings.warn(
            f"all cameras ({len(poses)}) stand at one place: the scene is not scaled, as with "
            "`--auto-scale-poses False`. How far away things are can only be learned from cameras that move.",
            stacklevel=2,
        )
    elif auto_scale:
        scale /= largest
    return Placement(transform, scale)


def _upright(poses: np.ndarray, orientation: Orientation) -> np.ndarray:
    """The rotation (3, 3) from the world to upright axes."""
    mean_up = poses[:, :3, 1].mean(axis=0)
    if orientation == "pca":
        away = poses[:, :3, 3] - poses[:, :3, 3].mean(axis=0)
        turn = np.linalg.eigh(away.T @ away)[1][:, ::-1].T
        if np.linalg.det(turn) < 0:
            turn[2] *= -1
        if turn[2] @ mean_up < 0:
            turn[1:] *= -1
        return turn
    length = np.linalg.norm(mean_up)
    if length < 1e-3:  # cameras upside down and upright in equal numbers: any of them is as good
        mean_up, length = poses[0, :3, 1], 1.0
    up = mean_up / length
    if orientation == "vertical":
        _, sizes, axes = np.linalg.svd(poses[:, :3, 0], full_matrices=True)
        if len(sizes) > 1 and sizes[1] > _STEADY * np.sqrt(len(poses)):
            up = axes[2] if axes[2] @ up > 0 else -axes[2]
        else:
            across = up - axes[0] * (axes[0] @ up)
            up = across / np.linalg.norm(across)
    return _rotation_to_z(up)


def _rotation_to_z(direction: np.ndarray) -> np.ndarray:
    """The smallest rotation that takes a unit vector to z (Rodrigues' formula)."""
    axis = np.cross(direction, [0.0, 0.0, 1.0])
    sine, cosine = np.linalg.norm(axis), direction[2]
    if sine < 1e-9:
        return np.eye(3) if cosine > 0 else np.diag([1.0, -1.0, -1.0])
    x, y, z = axis / sine
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + sine * cross + (1.0 - cosine) * (cross @ cross)


def _focus(poses: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The point nearest to the optical axes of all cameras that have it in front of them (least squares), (3,).

    As nerfstudio's focus_of_attention; where the axes are parallel or fewer than two cameras see the point, `start`.
    """
    origins, forward = poses[:, :3, 3], -poses[:, :3, 2]
    point = start
    active = ((point - origins) * forward).sum(axis=1) > 0
    while active.sum() > 1:
        origins, forward = origins[active], forward[active]
        across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
        if np.linalg.cond(across.sum(axis=0)) > _PARALLEL:
            warnings.warn(
                "the cameras look in parallel, so there is no point that all look at: `--center-method focus` takes "
                "the middle of their places.",
                stacklevel=2,
            )
            return start
        point = np.linalg.solve(across.sum(axis=0), (across @ origins[..., None]).sum(axis=0)[:, 0])
        active = ((point - origins) * forward).sum(axis=1) > 0
        if active.all():
            break
    return point


def read_applied(content: dict[str, Any], where: str) -> tuple[Float[np.ndarray, "3 4"], float]:
    """What a transforms file says was applied to its poses: "applied_transform" and "applied_scale".

    Raises:
        InputError: they are no invertible 3x4 or 4x4 matrix, or no positive number.
    """
    given, scale = content.get("applied_transform"), content.get("applied_scale", 1.0)
    try:
        applied = np.eye(4)[:3] if given is None else np.array(given, dtype=np.float64)
        usable = applied.shape in ((3, 4), (4, 4)) and bool(np.isfinite(applied).all())
        usable = usable and np.linalg.cond(applied[:3, :3]) < 1e6
    except (TypeError, ValueError):
        usable, applied = False, np.zeros((3, 4))
    if not usable:
        raise InputError(f'{where}: "applied_transform" is {given!r}; it must be an invertible 3x4 matrix.')
    try:
        factor = float(scale)
    except (TypeError, ValueError):
        factor = 0.0
    if not (np.isfinite(factor) and factor > 0):
        raise InputError(f'{where}: "applied_scale" is {scale!r}; it must be a positive number.')
    return applied[:3], factor


@dataclass
class PlacedOutputs(DataparserOutputs):
    """Outputs of a data parser whose way back to the world is kept in float64: coordinates of maps have seven digits
    before the point."""

    placement: Placement = field(default_factory=lambda: Placement(np.eye(4)[:3], 1.0))

    def __post_init__(self) -> None:
        self.dataparser_transform = torch.from_numpy(self.placement.transform).float()
        self.dataparser_scale = self.placement.scale

    def save_dataparser_transform(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"transform": self.placement.transform.tolist(), "scale": self.placement.scale}
        path.write_text(json.dumps(content, indent=4), encoding="utf-8")

    def transform_poses_to_original_space(
        self,
        poses: Float[Tensor, "num_poses 3 4"],
        camera_convention: Literal["opengl", "opencv"] = "opencv",
    ) -> Float[Tensor, "num_poses 3 4"]:
        transform = torch.from_numpy(self.placement.transform).to(poses.device)
        return transform_poses_to_original_space(poses.double(), transform, self.placement.scale, camera_convention)
