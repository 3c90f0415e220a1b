"""Checks of camera-to-world matrices before anything turns or scales them."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from eugen_fields.errors import InputError

_ROUNDING = 1e-2
"""Largest entry by which a rotation may differ from an orthonormal matrix: files round to two digits at worst."""
_SAME_PLACE = 6e-7
"""Share of their coordinates by which cameras at one place may differ: ten times the rounding of float32."""
_FEWEST_TO_JUDGE = 6
_MEETS = 0.15
_MISSES = 0.3
"""Distances of optical axes from the point nearest to all of them, as shares of the distance of the cameras from it:
below the first they look at one point, above the second they do not."""


def read_pose(matrix: Any, where: str) -> Float[np.ndarray, "4 4"]:
    """A camera-to-world matrix of a file, 4x4 or 3x4, as float64 (4, 4).

    Args:
        matrix: nested lists of numbers.
        where: names the file and the frame, for messages.

    Raises:
        InputError: it is no rigid pose; the message says which kind of other matrix it looks like.
    """
    try:
        pose = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        pose = np.zeros(0)
    if pose.shape not in ((4, 4), (3, 4)):
        raise InputError(f'{where}: "transform_matrix" is not a 4x4 matrix of numbers.')
    if not np.isfinite(pose).all():
        raise InputError(f"{where}: the pose holds NaN or infinity. Remove the frame or estimate its pose again.")
    if pose.shape == (4, 4) and np.abs(pose[3] - [0.0, 0.0, 0.0, 1.0]).max() > 1e-6:
        found = " ".join(f"{value:.4g}" for value in pose[3])
        hint = ""
        if np.abs(pose[:, 3] - [0.0, 0.0, 0.0, 1.0]).max() <= 1e-6:
            hint = " The matrix is transposed, with the camera's place in its last row: transpose it."
        raise InputError(f"{where}: the last row of the pose is {found}; it must be 0 0 0 1.{hint}")
    _check_rotation(pose[:3, :3], where)
    return np.concatenate([pose[:3], [[0.0, 0.0, 0.0, 1.0]]])


def _check_rotation(rotation: np.ndarray, where: str) -> None:
    error, determinant = np.abs(rotation @ rotation.T - np.eye(3)).max(), np.linalg.det(rotation)
    if error <= _ROUNDING and determinant > 0:
        return
    said = f"differs from a rotation by {error:.2g}, determinant {determinant:.3g}"
    factor = abs(determinant) ** (1 / 3)
    if error <= _ROUNDING:
        advice = "It is a mirror image: the file has left-handed axes, of which one must be reversed."
    elif factor > 0 and np.abs(rotation @ rotation.T / factor**2 - np.eye(3)).max() <= _ROUNDING:
        advice = f"It holds a scale of {factor:.4g}: divide its 3x3 part by that."
    else:
        advice = "Scale and shear must not be in camera poses."
    raise InputError(f"{where}: the pose is not rigid (its 3x3 part {said}). {advice}")


def spread(positions: Float[np.ndarray, "cameras 3"]) -> float:
    """Largest distance along an axis between cameras, in the units of the file; 0 where it is within rounding, that is
    where all cameras stand at one place."""
    extent = float(np.ptp(positions, axis=0).max())
    return extent if extent > max(1e-6, _SAME_PLACE * float(np.abs(positions).max())) else 0.0


def look_inverted(poses: Float[np.ndarray, "cameras 4 4"]) -> bool:
    """Whether poses (OpenGL axes) look like world-to-camera matrices: inverted they all look at one point in front of
    them, and as they are they do not.

    Cameras around an object do that (on a sphere about the origin, the inverted ones all stand at one place); nothing
    can be said of others.
    """
    if len(poses) < _FEWEST_TO_JUDGE:
        return False
    return _miss(np.linalg.inv(poses)) < _MEETS and _miss(poses) > _MISSES


def _miss(poses: np.ndarray) -> float:
    """Distance of the optical axes from the point nearest to them all, as a share of the cameras' distance from it;
    infinity where most have it behind them, the axes are parallel, or all cameras stand at one place."""
    origins, forward = poses[:, :3, 3], -poses[:, :3, 2]
    if not spread(origins):
        return np.inf
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    if np.linalg.cond(across.sum(axis=0)) > 1e4:
        return np.inf
    point = np.linalg.solve(across.sum(axis=0), (across @ origins[..., None]).sum(axis=0)[:, 0])
    away = point - origins
    if ((away * forward).sum(axis=1) > 0).mean() < 0.9:
        return np.inf
    missed = np.linalg.norm((across @ away[..., None])[..., 0], axis=1)
    return float(np.sqrt((missed**2).mean()) / np.linalg.norm(away, axis=1).mean())
