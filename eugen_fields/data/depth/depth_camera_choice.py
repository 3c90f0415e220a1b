"""Which camera a depth recording has whose layout says nothing of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

from eugen_fields.data.depth.depth_cameras import CAMERA_KEYS, TUM_INTRINSICS, Camera, find_camera, read_camera
from eugen_fields.data.depth.depth_images import DepthImageError, read_units
from eugen_fields.errors import InputError


def camera_of(folders: list[Path], camera_file: Path | None) -> Camera | None:
    """The camera that was named, or of the first folder that has one."""
    if camera_file is not None:
        return read_camera(camera_file)
    found = next(filter(None, map(find_camera, folders)), None)
    return None if found is None else found[1]


def benchmark_camera(data: Path, depths: list[Path]) -> Camera:
    """The camera of the TUM benchmark's own recordings, with a warning where this may be another one.

    Raises:
        InputError: it cannot be theirs, whose images have 640x480 pixels and whose folders are called freiburg1 to 3.
    """
    name, size = data.resolve().name.casefold(), _first_size(depths)
    fx, fy, cx, cy = next(values for part, values in TUM_INTRINSICS.items() if part in name)
    theirs = "freiburg" in name
    if not theirs and size != (640, 480):
        raise InputError(
            f"{data} has no file with a camera, and cannot be of the TUM benchmark: its depth images have "
            f"{size[0]}x{size[1]} pixels. Put a JSON file with {', '.join(CAMERA_KEYS)} and scale (units per metre) "
            "there, or name one with --camera-file."
        )
    if not theirs or size != (640, 480):
        warnings.warn(
            f"{data} has no file with a camera: that of the TUM benchmark is assumed (fx {fx:g}, fy {fy:g}, cx {cx:g}, "
            f"cy {cy:g} at 640x480). If the recording is another one, name its camera with --camera-file.",
            stacklevel=2,
        )
    return Camera((640, 480), (fx, fy, cx + 0.5, cy + 0.5), None)


def _first_size(depths: Iterable[Path]) -> tuple[int, int]:
    """Width and height of the first depth image that can be read; (0, 0) where none can."""
    for path in depths:
        try:
            height, width = read_units(path).shape
        except DepthImageError:
            continue
        return width, height
    return 0, 0


def image_size(depths: Iterable[Path], camera: Camera) -> tuple[int, int]:
    """The size of the depth images for a camera without one, if its principal point is near their middle.

    Raises:
        InputError: it is not, so that its numbers are probably of another size.
    """
    width, height = _first_size(depths)
    cx, cy = camera.intrinsics[2:]
    if (width, height) != (0, 0) and not (0.3 < cx / width < 0.7 and 0.3 < cy / height < 0.7):
        raise InputError(
            f"the camera of the recording has no width and height, and its principal point ({cx:g}, {cy:g}) is far "
            f"from the middle of depth images of {width}x{height} pixels. Add w and h, those of its numbers."
        )
    return width or 1, height or 1
