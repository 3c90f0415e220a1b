"""Accuracy, completion and Chamfer distance of meshes against the box room and scenes/room."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from support.distance_truths import box, write_room

from eugen_fields.benchmark.distance.distance_truth import DistanceTruth
from eugen_fields.benchmark.mesh.mesh_errors import mesh_errors, sample_mesh
from eugen_fields.data.depth.depth_reading import read_depth_stream


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory):
    """Truth and stream of the box room."""
    folder = write_room(tmp_path_factory.mktemp("room"), frames=43)  # all the way round
    return DistanceTruth.load(folder), read_depth_stream(folder)


def test_samples_are_even_on_the_mesh_and_repeat() -> None:
    vertices, faces = box((0, 0, 0), (1, 2, 3))
    points = sample_mesh(vertices, faces, 22_000, 0).numpy()
    assert points.shape == (22_000, 3)
    for axis, area in enumerate((6, 3, 2)):
        for side in (0, (1, 2, 3)[axis]):
            wall = points[np.abs(points[:, axis] - side) < 1e-6]
            assert len(wall) == pytest.approx(1000 * area, abs=30)
            middle = (np.array([1, 2, 3]) / 2)[np.arange(3) != axis]
            assert np.delete(wall, axis, axis=1).mean(axis=0) == pytest.approx(middle, rel=0.03)
    assert np.array_equal(points, sample_mesh(vertices, faces, 22_000, 0))
    assert not np.array_equal(points, sample_mesh(vertices, faces, 22_000, 1))


def test_the_truth_has_no_error(room) -> None:
    truth, stream = room
    errors = mesh_errors(truth.vertices, truth.triangles, truth, stream)
    assert max(errors["accuracy_cm"], errors["completion_cm"], errors["chamfer_cm"]) < 1e-3
    assert errors["accurate_share"] == errors["complete_share"] == 1
    assert 0 < errors["unseen_share"] < 0.8  # it looks ahead and hardly down


def test_a_shrunk_room_is_off_by_the_shift_of_its_walls(room) -> None:
    truth, stream = room
    vertices, faces = box(truth.vertices.min(axis=0) + 0.02, truth.vertices.max(axis=0) - 0.02)
    errors = mesh_errors(vertices, faces, truth, stream)
    for name in ("accuracy_cm", "completion_cm", "chamfer_cm"):
        assert errors[name] == pytest.approx(2.0, abs=0.03), name
    assert errors["accurate_share"] == errors["complete_share"] == 1
    vertices, _ = box(truth.vertices.min(axis=0) + 0.06, truth.vertices.max(axis=0) - 0.06)
    assert mesh_errors(vertices, faces, truth, stream)["accurate_share"] == 0


def test_a_moved_room_is_off_on_two_walls_of_six(room) -> None:
    truth, stream = room
    moved = truth.vertices + np.array([0, 0.03, 0], np.float32)
    errors = mesh_errors(moved, truth.triangles, truth, stream)
    normal_y = np.abs(truth.points[truth.on_surface].numpy()[:, 1, None] - truth.vertices[[0, 7], 1]).min(axis=1) < 1e-4
    assert errors["completion_cm"] == pytest.approx(3.0 * normal_y.mean(), abs=0.02)
    assert 0 < errors["accuracy_cm"] < 3.0
    assert errors["chamfer_cm"] == pytest.approx((errors["accuracy_cm"] + errors["completion_cm"]) / 2)


def test_what_is_made_up_behind_walls_is_told_apart_and_what_floats_in_view_counts(room) -> None:
    truth, stream = room
    low, high = truth.vertices.min(axis=0), truth.vertices.max(axis=0)
    plain = mesh_errors(truth.vertices, truth.triangles, truth, stream)

    def with_box(corner, opposite):
        vertices, faces = box(corner, opposite)
        return np.concatenate([truth.vertices, vertices]), np.concatenate([truth.triangles, faces + 8])

    behind = mesh_errors(*with_box(low - 1, high + 1), truth, stream)
    assert behind["accuracy_cm"] < 1e-3 and behind["completion_cm"] < 1e-3
    assert behind["unseen_share"] > plain["unseen_share"] and behind["unseen_accuracy_cm"] > 50
    middle = np.array([2.0, 0.0, 1.2])
    floating = mesh_errors(*with_box(middle - 0.2, middle + 0.2), truth, stream)
    assert floating["accuracy_cm"] > 0.3 and floating["accurate_share"] < 1 and floating["completion_cm"] < 1e-3


def test_half_a_room_is_accurate_but_not_complete(room) -> None:
    truth, stream = room
    errors = mesh_errors(truth.vertices, truth.triangles[:6], truth, stream)
    assert errors["accuracy_cm"] < 1e-3 and errors["completion_cm"] > 5 and errors["complete_share"] < 0.9


@pytest.mark.parametrize("faces", [np.zeros((0, 3), int), np.zeros((2, 3), int)], ids=["no faces", "no area"])
def test_no_mesh_has_no_errors(room, faces: np.ndarray) -> None:
    truth, stream = room
    errors = mesh_errors(truth.vertices, faces, truth, stream)
    assert errors["unseen_share"] == 0
    assert all(math.isnan(value) for name, value in errors.items() if name != "unseen_share"), errors


def test_the_room_that_ships() -> None:
    folder = Path(__file__).parents[3] / "scenes" / "room"
    truth = DistanceTruth.load(folder)
    errors = mesh_errors(truth.vertices, truth.triangles, truth, read_depth_stream(folder), num_samples=20_000)
    assert errors["chamfer_cm"] < 0.01 and errors["complete_share"] == 1
