"""TSDF fusion: well within a voxel of planes and spheres, and sane on scenes/room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support import depth_recordings
from support.depth_scenes import plane_depths, ring_of_cameras, sphere_depths
from support.distance_truths import inside_distance, write_room
from torch import Tensor

from eugen_fields.benchmark.distance.distance_truth import DistanceTruth
from eugen_fields.benchmark.distance.sdf_errors import sdf_errors, visible_error_cm
from eugen_fields.benchmark.distance.tsdf import TSDF
from eugen_fields.benchmark.distance.visibility import first_seen, nearest_first_seen
from eugen_fields.benchmark.mesh.mesh_errors import mesh_errors
from eugen_fields.data.depth.depth_reading import read_depth_stream
from eugen_fields.data.depth.depth_streams import DepthFrame, DepthStream
from eugen_fields.errors import InputError

ROOM = Path(__file__).parents[3] / "scenes" / "room"
HEIGHT, WIDTH = 96, 128
INTRINSICS = torch.tensor([110.0, 112.0, 62.0, 50.0])
VOXEL = 0.04


def frames(poses: Tensor, depths: Tensor) -> list[DepthFrame]:
    return [DepthFrame(i, float(i), pose, INTRINSICS, depth) for i, (pose, depth) in enumerate(zip(poses, depths))]


def fused(frames, **options) -> TSDF:
    tsdf = TSDF(**{"voxel_size": VOXEL, **options})
    for frame in frames:
        assert tsdf.integrate(frame)
    return tsdf


@pytest.fixture(scope="module")
def sphere() -> TSDF:
    """Of radius 0.7, seen from all around."""
    poses = ring_of_cameras(10, 2.2)
    return fused(frames(poses, sphere_depths(poses, INTRINSICS.expand(10, 4), HEIGHT, WIDTH, 0.7)))


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> tuple[DistanceTruth, DepthStream]:
    """The box room, seen all around."""
    folder = write_room(tmp_path_factory.mktemp("room"), frames=43)
    return DistanceTruth.load(folder), read_depth_stream(folder)


@pytest.fixture(scope="module")
def shipped() -> tuple[DistanceTruth, DepthStream]:
    return DistanceTruth.load(ROOM), read_depth_stream(ROOM)


@pytest.mark.parametrize("normal", [(0.0, 0.0, 1.0), (0.3, -0.2, 0.93)])
def test_a_plane_is_within_a_fraction_of_a_voxel(normal: tuple[float, float, float]) -> None:
    direction = torch.nn.functional.normalize(torch.tensor(normal), dim=-1)
    pose = torch.eye(4)  # looking down on it
    tsdf = fused(frames(pose[None], plane_depths(pose, INTRINSICS, HEIGHT, WIDTH, direction, -1.5)))
    points = torch.tensor([[x, y, z] for x in (-0.2, 0.0, 0.2) for y in (-0.2, 0.1) for z in (-1.0, -1.2, -1.3)])
    true = points @ direction + 1.5
    for field in (tsdf, tsdf.exact()):
        found, gradients = field.sdf_and_gradient(points)
        torch.testing.assert_close(found, true, atol=0.4 * VOXEL, rtol=0.0)
        assert (torch.nn.functional.normalize(gradients, dim=-1) @ direction).min() > 0.9
        behind = points - direction * (true + 0.03)[:, None]
        torch.testing.assert_close(field.sdf(behind), torch.full_like(true, -0.03), atol=0.4 * VOXEL, rtol=0.0)


def test_a_sphere_is_within_a_fraction_of_a_voxel_and_pixels_are_not_shifted(sphere: TSDF) -> None:
    """Half a pixel would be a quarter of a voxel."""
    directions = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    directions = directions[directions[:, 2].abs() < 0.6]  # hardly seen from above and below
    for radius in (0.7, 0.75, 1.0, 1.3):
        for field in (sphere, sphere.exact())[radius > 1 :]:  # the box around the sphere ends before
            error = field.sdf(radius * directions) - (radius - 0.7)
            assert error.abs().mean() < 0.2 * VOXEL and error.abs().max() < VOXEL, radius
    vertices, _ = sphere.mesh()
    seen = vertices[np.abs(vertices[:, 2]) < 0.4]
    assert np.abs(np.linalg.norm(seen, axis=1) - 0.7).mean() < 0.15 * VOXEL
    assert np.abs(seen.mean(axis=0)).max() < 0.1 * VOXEL


def test_distances_grow_outside_the_box_of_what_was_seen(sphere: TSDF) -> None:
    values = sphere.sdf(torch.tensor([[1.2, 0.0, 0.0], [2.0, 0.0, 0.0], [4.0, 0.0, 0.0]]))
    assert values.diff()[1] == pytest.approx(2.0, abs=0.01) and values[1] > values[0]


def test_a_room_is_known_within_a_voxel_where_its_surface_was_seen(room) -> None:
    truth, stream = room
    tsdf = fused(stream, voxel_size=0.05)
    known = nearest_first_seen(stream, truth) < len(stream)
    for field in (tsdf, tsdf.exact()):
        errors = sdf_errors(field.sdf, truth, field.sdf_and_gradient, known)
        assert errors["known_cm"] < 2.5 and errors["surface_cm"] < 2.0  # a pixel is 11 cm wide
        assert errors["visible_bias_cm"] > -0.5  # what is not known is taken for free
    points = truth.points[known]
    assert np.abs(tsdf.sdf(points).numpy() - np.abs(inside_distance(points.numpy()))).mean() < 0.025
    assert mesh_errors(*tsdf.mesh(), truth, stream)["chamfer_cm"] < 2.0


def test_frames_come_one_by_one_and_errors_follow(room) -> None:
    truth, stream = room
    tsdf = TSDF(0.1)
    seen, nearest = first_seen(stream, truth.points), nearest_first_seen(stream, truth)
    known = {}
    for frame in stream:
        tsdf.integrate(frame)
        if frame.index in (2, 42):
            known[frame.index] = truth.part(torch.maximum(seen, nearest) <= frame.index)
            assert visible_error_cm(tsdf.sdf, known[frame.index]) < 5
    assert 0 < len(known[2]) < len(known[42])
    assert tsdf.integrate_seconds > 0 and tsdf.distance_seconds > 0


def test_bad_frames_are_skipped_and_change_nothing(room) -> None:
    _, stream = room
    good = stream.frame(0)
    tsdf = fused([good])
    points = stream.points(0)[::10]
    before = tsdf.sdf(points)
    bad_pose = good.pose.clone()
    bad_pose[0, 3] = torch.nan
    empty, far = torch.zeros_like(good.depth), torch.full_like(good.depth, 50.0)
    nothing = torch.full_like(good.depth, torch.nan)
    changes = ({"pose": bad_pose}, {"depth": empty}, {"depth": nothing}, {"depth": far}, {"depth": far / 0})
    assert not any(tsdf.integrate(replace(good, **change)) for change in changes)
    assert torch.equal(tsdf.sdf(points), before)
    holes = good.depth.clone()
    holes[::2] = torch.nan
    assert tsdf.integrate(replace(good, depth=holes))


def test_a_single_pixel_is_fused() -> None:
    depth = torch.zeros(HEIGHT, WIDTH)
    depth[33, 57] = 0.8  # which is not among the pixels that Open3D looks at
    tsdf = fused(frames(torch.eye(4)[None], depth[None]))
    assert tsdf.sdf(torch.tensor([[0.1, 0.2, -0.8]])).shape == (1,)


def test_nothing_is_known_before_the_first_frame() -> None:
    tsdf = TSDF()
    vertices, faces = tsdf.mesh()
    assert vertices.shape == faces.shape == (0, 3)
    points = torch.rand(5, 3)
    for field in (tsdf, tsdf.exact()):
        distance, gradient = field.sdf_and_gradient(points)
        assert torch.isnan(distance).all() and gradient.shape == (5, 3)


def test_a_box_too_large_for_the_voxels_is_refused(room) -> None:
    _, stream = room
    tsdf = fused([stream.frame(0), stream.frame(20)], voxel_size=0.005)
    with pytest.raises(InputError, match="voxels of 0.005 m and more than .* larger voxels"):
        tsdf.sdf(torch.zeros(1, 3))


def test_depth_and_pose_conventions_are_those_of_the_stream(tmp_path: Path) -> None:
    """The mesh lies on the points that the stream says it saw."""
    stream = read_depth_stream(depth_recordings.write_transforms(tmp_path, 4, color=False))
    exact = fused(stream, voxel_size=0.03).exact()
    distance = exact.sdf(stream.points(1)).abs()
    assert distance.median() < 0.005


def test_the_room_that_ships(shipped) -> None:
    """Errors at points whose nearest surface was seen are small; the others are far off, as it guesses none."""
    truth, stream = shipped
    known = nearest_first_seen(stream, truth) < len(stream)
    assert 0.7 < known.float().mean() < 0.8
    tsdf = fused(stream)
    errors = sdf_errors(tsdf.sdf, truth, tsdf.sdf_and_gradient, known)
    assert errors["known_cm"] < 1.2 and errors["surface_cm"] < 0.7 and 5 < errors["visible_cm"] < 8
    exact = tsdf.exact()
    assert sdf_errors(exact.sdf, truth, known=known)["known_cm"] < errors["known_cm"]
    mesh = mesh_errors(*tsdf.mesh(), truth, stream)
    assert mesh["chamfer_cm"] < 0.8 and mesh["complete_share"] > 0.99 and mesh["unseen_share"] < 0.02
