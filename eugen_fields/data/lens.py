"""Where a lens model holds: pixels outside of it, and the one ray that nerfstudio's fisheyes lack."""

from __future__ import annotations

import math

import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

_OFFSET = 1e-3
"""Distance in pixels by which a fisheye's principal point is moved off a pixel centre: an angle of about 1e-6."""

_MARGIN = 0.999
"""Part of the image circle that is used: at its edge the inverse has no derivative."""


def keep_off_pixel_centres(cameras: Cameras) -> None:
    """Moves principal points of fisheyes off pixel centres, in place: the direction there is sin(0) / 0, not a number,
    in nerfstudio's camera. Images with odd sides and the principal point in their middle have such a pixel."""
    fisheye = cameras.camera_type == CameraType.FISHEYE.value
    at_centre = fisheye & ((cameras.cx % 1.0 - 0.5).abs() < _OFFSET) & ((cameras.cy % 1.0 - 0.5).abs() < _OFFSET)
    cameras.cx = torch.where(at_centre, cameras.cx.floor() + 0.5 + _OFFSET, cameras.cx)


def image_circle(distortion: Tensor, fisheye: bool) -> float:
    """The largest radius in the image plane, focal lengths, at which a lens model sees anything; infinity for most.

    A polynomial with negative coefficients bends back at some angle, beyond which no radius belongs to it.

    Args:
        distortion: k1, k2, k3, k4, p1, p2. The tangential terms, small beside the others, are left out.
        fisheye: the polynomial is one of the angle; otherwise of its tangent.
    """
    widest = math.pi if fisheye else math.tan(math.radians(85.0))
    angles = torch.linspace(0.0, widest, 10_000, dtype=torch.float64)
    square = angles**2
    factor = 1.0 + sum(float(k) * square ** (power + 1) for power, k in enumerate(distortion[:4]))
    radii = angles * factor
    bends_back = (radii.diff() <= 0).nonzero()[:, 0]
    if len(bends_back):
        return float(radii[bends_back[0]])
    return float(radii[-1]) if fisheye else math.inf


def seen_pixels(cameras: Cameras, index: int) -> Tensor | None:
    """Pixels of one camera that show anything, bool (height, width, 1); None: all of them.

    Calibrations leave the corners of wide images outside of their lens model's image circle. nerfstudio's iterations
    for the ray of such a pixel end just anywhere. `fisheye_crop_radius` bounds the circle as well.
    """
    camera = cameras[index]
    fisheye = int(camera.camera_type) == CameraType.FISHEYE.value
    if not fisheye and int(camera.camera_type) != CameraType.PERSPECTIVE.value:
        return None
    width, height = int(camera.width), int(camera.height)
    corners = torch.tensor([0.5, height - 0.5])[:, None], torch.tensor([0.5, width - 0.5])
    if bool(_seen(camera, fisheye, *corners).all()):  # both circles are convex
        return None
    return _seen(camera, fisheye, torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5)[..., None]


def _seen(camera: Cameras, fisheye: bool, rows: Tensor, columns: Tensor) -> Tensor:
    """Which places of one camera's image show anything, bool (rows, columns), at rows (rows, 1) and columns
    (columns,)."""
    seen = torch.ones(len(rows), len(columns), dtype=torch.bool)
    if camera.distortion_params is not None and bool(camera.distortion_params.any()):
        radius = torch.hypot((columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy)
        seen &= radius < _MARGIN * image_circle(camera.distortion_params, fisheye)
    crop = (camera.metadata or {}).get("fisheye_crop_radius")
    if crop is not None:
        seen &= torch.hypot(columns - int(camera.width) // 2, rows - int(camera.height) // 2) <= crop
    return seen


def row_areas(cameras: Cameras, index: int) -> Tensor | None:
    """What share of the area of a pixel on the horizon the pixels of each row of a spherical image have, (height,),
    0 to 1; None where all pixels count alike.

    The rows of an equirectangular image are at equal steps of latitude: their pixels narrow with its cosine.
    """
    camera = cameras[index]
    if int(camera.camera_type) != CameraType.EQUIRECTANGULAR.value:
        return None
    latitudes = math.pi * (torch.arange(int(camera.height)) + 0.5 - camera.cy) / camera.fy
    return torch.where(latitudes.abs() < math.pi / 2, latitudes.cos(), 0.0)
