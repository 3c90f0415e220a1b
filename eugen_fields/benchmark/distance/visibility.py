"""When points are seen first: a map is only measured where the camera has been looking."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eugen_fields.benchmark.distance.distance_truth import DistanceTruth
from eugen_fields.data.depth.depth_streams import DepthStream

BEHIND = 0.1
"""Metres behind the measured depth at which points still count as seen: four deviations of a Kinect at 4 m."""


def first_seen(
    stream: DepthStream, points: Float[Tensor, "points 3"], tolerance: float = BEHIND
) -> Int[Tensor, " points"]:
    """Index of the first frame that sees each point; the number of frames where none does.

    A frame sees a point that falls on a pixel with a depth and lies at most `tolerance` metres behind that depth, along
    the optical axis.
    """
    first = torch.full((len(points),), len(stream), dtype=torch.long)
    left = torch.arange(len(points))
    for frame in stream:
        local = (points[left] - frame.pose[:3, 3]) @ frame.pose[:3, :3]
        z = -local[:, 2]
        fx, fy, cx, cy = frame.intrinsics.tolist()
        # points beside the camera may divide by 0: no comparison below holds for what comes out
        columns, rows = (cx + fx * local[:, 0] / z).floor(), (cy - fy * local[:, 1] / z).floor()
        inside = (z > 0) & (columns >= 0) & (columns < stream.width) & (rows >= 0) & (rows < stream.height)
        there = frame.depth[rows[inside].long(), columns[inside].long()]
        seen = inside.clone()
        seen[inside] = (there > 0) & (z[inside] <= there + tolerance)
        first[left[seen]] = frame.index
        left = left[~seen]
    return first


def nearest_first_seen(stream: DepthStream, truth: DistanceTruth, tolerance: float = 0.03) -> Int[Tensor, " points"]:
    """Index of the first frame that sees the nearest surface of each point of the truth; the number of frames if none.

    Until then only a guess can be right: what knows the seen surfaces alone finds too large a distance, as beside a
    table that the camera always had its back to.
    """
    return first_seen(stream, truth.mesh.nearest(truth.points), tolerance)
