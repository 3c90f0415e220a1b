"""When points are seen: by frame, up to what lies behind, and their nearest surface."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import depth_recordings
from support.distance_truths import write_room

from eugen_fields.benchmark.distance.distance_truth import DistanceTruth
from eugen_fields.benchmark.distance.visibility import first_seen, nearest_first_seen
from eugen_fields.data.depth.depth_streams import DepthStream

SIZE, DEPTH = 8, 2.0


@pytest.fixture
def stream() -> DepthStream:
    """Two cameras at the origin that see a wall at 2 m: the first along -z, the second along +x."""
    turned = torch.eye(4)
    turned[:3, :3] = torch.tensor([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    depths = torch.full((2, SIZE, SIZE), DEPTH)
    depths[:, 0] = 0.0  # the uppermost row saw nothing
    return DepthStream(
        poses=torch.stack([torch.eye(4), turned]),
        intrinsics=torch.tensor([[8.0, 8.0, 4.0, 4.0]]).expand(2, 4),
        timestamps=torch.arange(2.0),
        width=SIZE,
        height=SIZE,
        depth_paths=[],
        color_paths=None,
        depth_unit_scale_factor=1.0,
        depths=depths,
    )


def test_the_first_frame_that_sees_a_point_counts(stream: DepthStream) -> None:
    points = torch.tensor(
        [
            [0.0, 0.0, -1.0],  # ahead of the first
            [1.0, 0.0, 0.0],  # ahead of the second
            [0.0, 0.0, 1.0],  # behind the first
            [0.0, 0.0, 0.0],  # in both cameras
            [0.0, 5.0, -1.0],  # above the image
            [0.0, 0.95, -2.0],  # in the row without depth
            [0.0, 0.70, -2.0],  # in the row below it
            [0.99, 0.0, -1.99],  # near the edge of the first image
            [1.01, 0.0, -1.99],  # beyond it, and beyond that of the second
        ]
    )
    assert first_seen(stream, points).tolist() == [0, 1, 2, 2, 2, 2, 0, 0, 2]


def test_points_behind_what_was_measured_are_seen_up_to_the_tolerance(stream: DepthStream) -> None:
    points = torch.tensor([[0.0, 0.0, -z] for z in (1.999, 2.04, 2.06)])
    assert first_seen(stream, points, 0.05).tolist() == [0, 0, 2]
    assert first_seen(stream, points, 0.0).tolist() == [0, 2, 2]
    assert first_seen(stream, points[:0]).shape == (0,)


def test_a_frame_without_a_pose_sees_nothing(stream: DepthStream) -> None:
    stream.poses = stream.poses.clone()
    stream.poses[0] = torch.nan
    assert first_seen(stream, torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])).tolist() == [2, 1]


def test_what_a_frame_measured_it_sees(tmp_path: Path) -> None:
    from eugen_fields.data.depth.depth_reading import read_depth_stream

    stream = read_depth_stream(depth_recordings.write_transforms(tmp_path, color=False))
    for index in (0, 5):
        assert (first_seen(stream, stream.points(index), 0.002) <= index).all()


def test_the_nearest_surface_may_be_seen_later_or_never(tmp_path: Path) -> None:
    from eugen_fields.data.depth.depth_reading import read_depth_stream

    stream = read_depth_stream(write_room(tmp_path))
    truth = DistanceTruth.load(tmp_path)
    seen, nearest = first_seen(stream, truth.points), nearest_first_seen(stream, truth)
    assert (seen < len(stream)).all()
    surface = truth.on_surface
    assert (nearest[surface] < len(stream)).float().mean() > 0.99
    assert (nearest[~surface] == len(stream)).any()  # it looks outward, over a floor that it does not see
    assert (nearest > seen)[~surface].any()
