"""Camera paths: a turn about a point, and a smooth path through chosen views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, Slerp

from eugen_viewer.pictures.cameras import View


def turntable(view: View, center: np.ndarray, count: int) -> list[View]:
    """One turn of a view about the vertical axis (z) through a point, the view itself first."""
    views = []
    for angle in np.arange(count) * (2.0 * np.pi / count):
        turn = Rotation.from_euler("z", angle).as_matrix()
        position = center + turn @ (view.position - center)
        views.append(View(np.concatenate([turn @ view.pose[:, :3], position[:, None]], axis=1), view.fov, view.aspect))
    return views


def through(views: Sequence[View], count: int) -> list[View]:
    """A path of `count` views through all of the given ones, the first and the last included: positions along a cubic
    spline, rotations along great arcs.

    Raises:
        ValueError: fewer than two views or frames.
    """
    if len(views) < 2 or count < 2:
        raise ValueError(f"{len(views)} views and {count} frames are given; a path needs two of each")
    times = np.arange(len(views))
    moments = np.linspace(0, len(views) - 1, count)
    positions = CubicSpline(times, np.stack([view.position for view in views]), bc_type="natural")(moments)
    rotations = Slerp(times, Rotation.from_matrix(np.stack([view.pose[:, :3] for view in views])))(moments).as_matrix()
    angles = np.interp(moments, times, [view.fov for view in views])
    poses = np.concatenate([rotations, positions[..., None]], axis=-1)
    return [View(pose, float(angle), views[0].aspect) for pose, angle in zip(poses, angles)]
