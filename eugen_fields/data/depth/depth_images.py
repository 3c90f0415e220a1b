"""Depth images on disk: 16-bit PNG, TIFF, EXR and NumPy files, read into metres along the optical axis."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

SUFFIXES = (".png", ".npy", ".exr", ".tif", ".tiff")
"""Endings of the files that are read."""

MILLIMETRE = 0.001
"""Metres per unit of whole numbers where nothing else is said: the common choice, and nerfstudio's."""


class DepthImageError(Exception):
    """A file is not a depth image; the message says why and completes the sentence "the depth image X ..."."""


def read_units(path: Path) -> np.ndarray:
    """A depth image in the units of its file, (height, width), whole numbers or floats.

    An image of several channels is one if they are equal, as renderers write it.

    Raises:
        DepthImageError: there is no such file, it does not decode, or it holds something else.
    """
    if not path.is_file():
        raise DepthImageError("is not there")
    if path.suffix.lower() == ".npy":
        try:
            image = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DepthImageError(f"cannot be read ({error})") from None
    else:
        import cv2

        # OpenCV reads EXR only on demand; it looks at this when it meets the first one.
        os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")
        try:
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise DepthImageError(f"cannot be read ({error.err})") from None
        if image is None:
            raise DepthImageError("cannot be read (not a whole image of a known format)")
    if image.dtype.kind not in "uif" or image.dtype == np.uint8:
        raise DepthImageError(f"holds {image.dtype}: depth needs 16 bits a pixel, or floats")
    if image.ndim == 3 and (image[..., :3] == image[..., :1]).all():
        image = image[..., 0]
    if image.ndim != 2 or not image.size:
        raise DepthImageError(f"has shape {'x'.join(map(str, image.shape))}; it must be height x width")
    return image


def default_scale(image: np.ndarray) -> float:
    """Metres per unit where nothing else is said: millimetres in whole numbers, metres in floats."""
    return 1.0 if image.dtype.kind == "f" else MILLIMETRE


def to_metres(image: np.ndarray, scale: float, max_depth: float = math.inf) -> np.ndarray:
    """Depth in metres, float32; 0 where there is none: at 0, below 0, NaN, infinity, the largest 16-bit number, which
    cameras write where they saturate, or beyond `max_depth`.

    Args:
        image: in units of its file.
        scale: metres per unit.
        max_depth: metres.
    """
    depth = image.astype(np.float64) * scale
    valid = np.isfinite(depth) & (depth > 0) & (depth <= max_depth)
    if image.dtype == np.uint16:
        valid &= image < np.iinfo(np.uint16).max
    return np.where(valid, depth, 0.0).astype(np.float32)
