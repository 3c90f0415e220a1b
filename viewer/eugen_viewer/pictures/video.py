"""Frames to the bytes of an image or a video."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

FORMATS = ("mp4", "gif")


def encode_image(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 pixels (height, width, 3)."""
    import imageio.v3 as iio

    return iio.imwrite("<bytes>", pixels, extension=".png")


def encode_video(frames: Sequence[np.ndarray], fps: int, kind: str) -> bytes:
    """A video of uint8 frames (height, width, 3); GIFs repeat without end. MP4s lose a last odd row or column.

    Raises:
        ValueError: an unknown kind, or no frames.
    """
    import imageio.v3 as iio

    if kind not in FORMATS or not frames:
        raise ValueError(f"{len(frames)} frames as {kind!r}; give at least one, as one of {', '.join(FORMATS)}")
    buffer = io.BytesIO()
    if kind == "gif":
        iio.imwrite(buffer, np.stack(frames), extension=".gif", duration=1000.0 / fps, loop=0)
    else:
        height, width = (size - size % 2 for size in frames[0].shape[:2])
        stack = np.stack([frame[:height, :width] for frame in frames])
        iio.imwrite(buffer, stack, extension=".mp4", plugin="pyav", codec="libx264", fps=fps)
    return buffer.getvalue()
