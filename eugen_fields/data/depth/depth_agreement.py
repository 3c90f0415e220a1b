"""How well the depth images of a stream agree with each other under its poses, read in this or that way.

Points that a frame sees are projected into later frames and compared with the depth there. What is seen twice agrees
only if poses, units and directions are right; what a near thing hides, or what has moved, disagrees however one reads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from eugen_fields.data.depth.depth_streams import DepthStream
from eugen_fields.sampling.depth_rays import camera_directions

_FIRST_FRAMES = 12
_POINTS = 200
"""Points per pair of frames."""
_MOST = 0.2
"""Relative difference beyond which it does not matter how large it is: something else is seen there."""
_FEWEST = 50
_LEAST_SHARE = 0.03
"""Share of the points that other frames must see too, for anything to be said."""

UNITS = (0.001, 1 / 5000, 1.0, 1 / 6553.5, 0.01, 1e-4, 0.00025, 0.0005, 1 / 256, 0.1, 0.0254, 0.3048)
"""Metres per unit of depth images that are in use, the commonest first: millimetres, TUM's, metres, Replica's,
centimetres, RealSense's, ..., KITTI's, decimetres, inches, feet."""
POSE_UNITS = (1.0, 0.01, 0.001, 1000.0, 100.0, 0.1, 10.0, 0.0254, 0.3048)
"""Metres per unit of the cameras' places, the commonest first."""
_FOCALS = (0.25, 0.5, 2 / 3, 0.75, 0.85, 1.2, 4 / 3, 1.5, 2.0, 4.0)
"""Factors on focal lengths that are tried: those of intrinsics for images of another size, or of another camera."""
_STEP = 0.1
"""Relative difference of neighbouring depths up to which they are of one surface."""
USUAL_DEPTH = (0.2, 20.0)
"""Range of the median depth of most streams, metres."""


@dataclass(frozen=True)
class Reading:
    """One way to read a recording, relative to how it is read now but for `along`."""

    unit: float = 1.0
    """Factor on metres per unit of depth."""
    pose: float = 1.0
    """Factor on metres per unit of the poses."""
    along: Literal["axis", "ray"] = "axis"
    """What the depth images hold: distances along the optical axis or along rays."""
    other_axes: bool = False
    """The cameras' y and z axes point the other way."""
    inverted: bool = False
    """The matrices are world-to-camera."""
    focal: float = 1.0
    """Factor on the focal lengths."""


class Agreement:
    """Pairs of frames of a stream, looked at in many ways.

    Args:
        stream: its frames in order; depth along the optical axis as `along` says that it was read.
        axes: of the cameras in the file, opengl or opencv.
        along: what the depth images were taken for.
    """

    def __init__(self, stream: DepthStream, axes: str, along: Literal["axis", "ray"]) -> None:
        self.along: Literal["axis", "ray"] = along
        pairs = list(_pairs(len(stream)))
        used = sorted(set(itertools.chain(*pairs)))
        place = {frame: index for index, frame in enumerate(used)}
        self._images = torch.stack([stream.depth(frame) for frame in used]).double()
        self._intrinsics = stream.intrinsics[used].double()
        flip = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
        self._flip, self._axes = flip, axes
        poses = stream.poses[used].double()
        self._file_poses = poses @ flip if axes == "opencv" else poses
        self._pairs = torch.tensor([[place[first], place[later]] for first, later in pairs])
        directions, depths, pair = [], [], []
        for index, (first, _) in enumerate(self._pairs.tolist()):
            seen = (self._images[first] > 0).nonzero()
            rows, columns = seen[:: max(1, len(seen) // _POINTS)].T
            directions.append(camera_directions(rows, columns, self._intrinsics[first]))
            depths.append(self._images[first][rows, columns])
            pair.append(torch.full((len(rows),), index))
        self._directions, self._depths, self._pair = torch.cat(directions), torch.cat(depths), torch.cat(pair)

    def _axis_depth(self, depth: Tensor, stretch: Tensor, along: str) -> Tensor:
        """Depth along the axis of what was read as depth along `self.along`, were it along `along`; `stretch` is the
        length of the direction whose depth is 1."""
        if along == self.along:
            return depth
        return depth / stretch if along == "ray" else depth * stretch

    def difference(self, reading: Reading, every: int = 1) -> float:
        """Mean relative difference of depths where frames see the same, at most 0.2; infinity where too few points are
        seen twice. Of one point in `every`."""
        directions, depths, pair = self._directions[::every], self._depths[::every], self._pair[::every]
        poses = torch.linalg.inv(self._file_poses) if reading.inverted else self._file_poses.clone()
        poses[:, :3, 3] *= reading.pose / reading.unit
        if (self._axes == "opencv") != reading.other_axes:
            poses = poses @ self._flip
        first, later = self._pairs.T
        motion = torch.linalg.solve(poses[later], poses[first])[pair]
        directions = directions * torch.tensor([1 / reading.focal, 1 / reading.focal, 1.0], dtype=torch.float64)
        depth = self._axis_depth(depths, directions.norm(dim=-1), reading.along)
        local = directions * depth[:, None]
        moved = (motion[:, :3, :3] @ local[..., None])[..., 0] + motion[:, :3, 3]
        away = -moved[:, 2]
        frames = later[pair]
        fx, fy, cx, cy = self._intrinsics[frames].T
        fx, fy = reading.focal * fx, reading.focal * fy
        across, down = moved[:, 0] / away.clamp(min=1e-9), -moved[:, 1] / away.clamp(min=1e-9)
        columns, rows = cx + fx * across, cy + fy * down
        height, width = self._images.shape[1:]
        inside = (away > 1e-9) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        frames, rows, columns, away = frames[inside], rows[inside], columns[inside], away[inside]
        across, down = across[inside], down[inside]
        there = self._look_up(frames, rows, columns)
        there = self._axis_depth(there, torch.sqrt(1.0 + across**2 + down**2), reading.along)
        seen = there > 0
        if int(seen.sum()) < max(_FEWEST / every, _LEAST_SHARE * len(depths)):
            return math.inf
        return float(((there[seen] - away[seen]).abs() / away[seen]).clamp(max=_MOST).mean())

    def _look_up(self, frames: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Depths at places in images, (N,), bilinear within a surface; elsewhere those of the pixels they are in."""
        height, width = self._images.shape[1:]
        nearest = self._images[frames, rows.long(), columns.long()]
        rows, columns = (rows - 0.5).clamp(0, height - 1.001), (columns - 0.5).clamp(0, width - 1.001)
        top, left = rows.long(), columns.long()
        corners = torch.stack([self._images[frames, top + i, left + j] for i in (0, 1) for j in (0, 1)])
        v, u = rows - top, columns - left
        weights = torch.stack([(1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u])
        low, high = corners.amin(dim=0), corners.amax(dim=0)
        return torch.where((low > 0) & (high < (1 + _STEP) * low), (weights * corners).sum(dim=0), nearest)

    def best(self, median: float, unit: float, pose_unit: float) -> tuple[Reading, float]:
        """The reading in common units, axes and directions with the smallest difference, and that difference.

        Depth and poses are searched at once. Only their ratio tells: of those that agree equally well the one with a
        likely median depth, the fewest changes and the commonest units is taken.

        Args:
            median: of the depths as they are read, metres; its unit the factor below.
            unit: metres per unit of depth, as they are read.
            pose_unit: metres per unit of the poses, likewise.
        """
        ratios: dict[int, list[tuple[tuple, float, float]]] = {}
        units, pose_units = (unit, *UNITS), (pose_unit, *POSE_UNITS)
        for (i, a), (j, b) in itertools.product(enumerate(units), enumerate(pose_units)):
            likely = USUAL_DEPTH[0] <= median * a / unit <= USUAL_DEPTH[1]
            changes = int(not math.isclose(a, unit)) + int(not math.isclose(b, pose_unit))
            if changes == 2 and USUAL_DEPTH[0] <= median <= USUAL_DEPTH[1]:
                continue  # any ratio can be made of two factors, and would make up for a focal length that is wrong
            ratio = (b / pose_unit) / (a / unit)
            key = (not likely, changes, i + 2 * j)
            ratios.setdefault(round(100 * math.log(ratio)), []).append((key, a / unit, b / pose_unit))
        simplest = [min(same) for same in ratios.values()]
        tried: list[tuple[tuple, Reading]] = []
        for along, other_axes, inverted in itertools.product(("axis", "ray"), (False, True), (False, True)):
            turns = int(along != self.along) + int(other_axes) + int(inverted)
            for (unlikely, changes, rank), a, b in simplest:
                tried.append(((unlikely, changes + turns, rank), Reading(a, b, along, other_axes, inverted)))
        unlikely = not USUAL_DEPTH[0] <= median <= USUAL_DEPTH[1]
        tried += [((unlikely, 2, 0), Reading(along=self.along, focal=focal)) for focal in _FOCALS]
        rough = [self.difference(reading, every=4) for _, reading in tried]
        promising = [item for item, difference in zip(tried, rough) if difference <= 1.5 * min(rough) + 0.005]
        exact = [self.difference(reading) for _, reading in promising]
        near = [(key, index) for index, (key, _) in enumerate(promising) if exact[index] <= 1.15 * min(exact) + 5e-4]
        _, index = min(near)
        return promising[index][1], exact[index]

    def now(self) -> float:
        """The difference as the recording is read now."""
        return self.difference(Reading(along=self.along))


def _pairs(num_frames: int) -> Iterator[tuple[int, int]]:
    """Indices of a frame and a later one, 1, 2, 4, ... frames on."""
    for first in np.unique(np.linspace(0, num_frames - 2, min(_FIRST_FRAMES, num_frames - 1)).astype(int)):
        gap = 1
        while first + gap < num_frames and gap <= max(1, num_frames // 2):
            yield int(first), int(first + gap)
            gap *= 2
