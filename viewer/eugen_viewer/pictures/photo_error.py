"""The difference between a render and the photo taken nearest to it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.utils import colormaps
from torch import Tensor

_UNKNOWN = 0.75
_LARGEST = 0.5
"""Mean colour difference that gets the brightest colour."""


def project(camera: Cameras, points: Tensor) -> tuple[Tensor, Tensor]:
    """Projects points (..., 3) into the image of a perspective camera, lens distortion included.

    Returns:
        pixels (..., 2), column and row, the middle of the first one at 0.5; whether the image has them, (...).
    """
    pose = camera.camera_to_worlds.to(points)
    local = (points - pose[:, 3]) @ pose[:, :3]
    ahead = -local[..., 2]
    x, y = local[..., 0] / ahead.clamp(min=1e-6), -local[..., 1] / ahead.clamp(min=1e-6)
    if camera.distortion_params is not None:
        k1, k2, k3, k4, p1, p2 = camera.distortion_params.to(points).unbind()
        square = x * x + y * y
        radial = 1.0 + square * (k1 + square * (k2 + square * (k3 + square * k4)))
        x, y = (
            x * radial + 2.0 * p1 * x * y + p2 * (square + 2.0 * x * x),
            y * radial + 2.0 * p2 * x * y + p1 * (square + 2.0 * y * y),
        )
    fx, fy, cx, cy = (float(value) for value in (camera.fx, camera.fy, camera.cx, camera.cy))
    pixels = torch.stack([cx + fx * x, cy + fy * y], dim=-1)
    size = torch.tensor([float(camera.width), float(camera.height)]).to(pixels)
    return pixels, (ahead > 1e-6) & ((pixels > 0) & (pixels < size)).all(dim=-1)


def is_projectable(camera: Cameras) -> bool:
    """Whether `project` knows the camera's kind."""
    return int(camera.camera_type) == CameraType.PERSPECTIVE.value


def photo_error(color: Tensor, points: Tensor, camera: Cameras, photo: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between rendered colours and those of a photo at the same points; occlusion in the photo is ignored.

    Args:
        color: colours of the render, shape (height, width, 3).
        points: surface point of each pixel, shape (height, width, 3).
        camera: camera of the photo.
        photo: the photo, shape (rows, columns, 3), in [0, 1], of any size.

    Returns:
        mean absolute difference of the three colours (height, width), and whether the photo has the place.
    """
    pixels, inside = project(camera, points)
    size = torch.tensor([float(camera.width), float(camera.height)])
    seen = F.grid_sample(
        photo.permute(2, 0, 1)[None], (2.0 * pixels / size - 1.0)[None], align_corners=False, padding_mode="border"
    )[0].permute(1, 2, 0)
    return (color - seen).abs().mean(dim=-1), inside


def paint_error(error: Tensor, known: Tensor) -> Tensor:
    """Differences (height, width) in colours, (height, width, 3): black is none, grey is not known."""
    colors = colormaps.apply_colormap((error[..., None] / _LARGEST).clamp(0.0, 1.0), colormaps.ColormapOptions("magma"))
    return torch.where(known[..., None], colors, torch.full_like(colors, _UNKNOWN))
