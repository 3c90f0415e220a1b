"""Posed depth streams in memory: frames in order, in metres, with OpenGL camera-to-world poses.

The world is that of the files: nothing is centred, turned or scaled.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from eugen_fields.data.depth.depth_images import DepthImageError, read_units, to_metres
from eugen_fields.data.images import read_image
from eugen_fields.errors import InputError
from eugen_fields.sampling.depth_rays import camera_directions

_RECENT_FRAMES = 64
"""Frames kept of a stream that is not in memory."""


@lru_cache(maxsize=4)
def ray_lengths(intrinsics: tuple[float, float, float, float], width: int, height: int) -> np.ndarray:
    """Distance along the ray of each pixel of depth 1, float32 (height, width). Not to be written to."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    directions = camera_directions(rows.flatten(), columns.flatten(), torch.tensor(intrinsics))
    return directions.norm(dim=-1).view(height, width).numpy()


@dataclass
class DepthFrame:
    """One frame of a stream."""

    index: int
    timestamp: float
    """Seconds."""
    pose: Float[Tensor, "4 4"]
    """Camera-to-world, OpenGL axes."""
    intrinsics: Float[Tensor, " 4"]
    """fx, fy, cx, cy in pixels of the depth image; the middle of the first pixel is at (0.5, 0.5)."""
    depth: Float[Tensor, "height width"]
    """Metres along the optical axis; 0 where there is none."""


@dataclass
class DepthStream:
    """Posed depth images in the order in which they were taken. Iterating gives every DepthFrame."""

    poses: Float[Tensor, "frames 4 4"]
    """Camera-to-world, OpenGL axes: x right, y up, looking along -z. Metres."""
    intrinsics: Float[Tensor, "frames 4"]
    """fx, fy, cx, cy in pixels of the depth images; the middle of the first pixel is at (0.5, 0.5)."""
    timestamps: Float[Tensor, " frames"]
    """Seconds, float64."""
    width: int
    """Width of the depth images, pixels."""
    height: int
    depth_paths: list[Path]
    color_paths: list[Path] | None
    """None unless every frame has one."""
    depth_unit_scale_factor: float
    """Metres per unit of the depth files."""
    max_depth: float = math.inf
    """Metres; what is farther counts as no depth."""
    along: Literal["axis", "ray"] = "axis"
    """What the files hold: distance along the optical axis, or along rays from the camera's centre."""
    depths: Float[Tensor, "frames height width"] | None = None
    """All depth images, if they are in memory."""
    _recent: OrderedDict[int, Tensor] = field(default_factory=OrderedDict, repr=False)

    def __len__(self) -> int:
        return len(self.poses)

    def __iter__(self) -> Iterator[DepthFrame]:
        return (self.frame(index) for index in range(len(self)))

    def frame(self, index: int) -> DepthFrame:
        """One frame with its depth, without its colour."""
        timestamp = float(self.timestamps[index])
        return DepthFrame(index, timestamp, self.poses[index], self.intrinsics[index], self.depth(index))

    def depth(self, index: int) -> Float[Tensor, "height width"]:
        """Metres along the optical axis, float32; 0 where there is none. Not to be written to."""
        if self.depths is not None:
            return self.depths[index]
        index = range(len(self))[index]
        if index not in self._recent:
            path = self.depth_paths[index]
            try:
                depth = to_metres(read_units(path), self.depth_unit_scale_factor)
            except DepthImageError as error:
                raise InputError(f"the depth image {path} {error}; it was readable before.") from None
            if self.along == "ray":
                depth /= ray_lengths(tuple(self.intrinsics[index].tolist()), self.width, self.height)
            depth[depth > self.max_depth] = 0
            self._recent[index] = torch.from_numpy(depth)
            while len(self._recent) > _RECENT_FRAMES:
                self._recent.popitem(last=False)
        self._recent.move_to_end(index)
        return self._recent[index]

    def color(self, index: int) -> UInt8[Tensor, "rows columns 3"] | None:
        """The colour image, sRGB, which may be larger than the depth image; None if the stream has none."""
        if self.color_paths is None:
            return None
        return torch.from_numpy(np.array(read_image(self.color_paths[index]).convert("RGB")))

    def directions(self, index: int) -> Float[Tensor, "height width 3"]:
        """Directions through the pixel centres in the camera's axes, at depth 1: (x, y, -1)."""
        rows, columns = torch.meshgrid(torch.arange(self.height), torch.arange(self.width), indexing="ij")
        directions = camera_directions(rows.flatten(), columns.flatten(), self.intrinsics[index])
        return directions.view(self.height, self.width, 3)

    def points(self, index: int, stride: int = 1) -> Float[Tensor, "points 3"]:
        """World points of the pixels that have a depth, row by row.

        Args:
            index: the frame's index.
            stride: use every stride-th row and column.
        """
        depth = self.depth(index)[::stride, ::stride]
        seen = depth > 0
        local = self.directions(index)[::stride, ::stride][seen] * depth[seen][:, None]
        return local @ self.poses[index, :3, :3].T + self.poses[index, :3, 3]

    def bounds(self, max_frames: int = 32, percent: float = 0.5, margin: float = 0.1) -> Float[Tensor, "2 3"]:
        """Lowest and highest corner of a box that holds what was seen, and the cameras.

        Args:
            max_frames: number of frames, spread evenly, whose points are used.
            percent: percentage of points left out on each side of each axis, since stray depths lie far off.
            margin: added all round, metres.
        """
        chosen = np.unique(np.linspace(0, len(self) - 1, min(max_frames, len(self))).round().astype(int))
        stride = max(1, int(math.sqrt(self.width * self.height / 5000)))
        points = torch.cat([self.points(int(index), stride) for index in chosen]).numpy()
        low, high = np.percentile(points, [percent, 100 - percent], axis=0)
        cameras = self.poses[:, :3, 3].numpy()
        box = np.stack([np.minimum(low, cameras.min(axis=0)) - margin, np.maximum(high, cameras.max(axis=0)) + margin])
        return torch.from_numpy(box).float()
