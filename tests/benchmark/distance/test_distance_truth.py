"""Ground truth of distances: what it holds, and that damaged files are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.distance_truths import inside_distance, write_truth

from eugen_fields.benchmark.distance.distance_truth import DISTANCES, MESH, SURFACE, DistanceTruth
from eugen_fields.errors import InputError

ROOM = Path(__file__).parents[3] / "scenes" / "room"


@pytest.fixture(scope="module")
def shipped() -> DistanceTruth:
    return DistanceTruth.load(ROOM)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_truth(tmp_path)


def test_points_on_surfaces_are_on_the_mesh_and_the_others_stay(shipped: DistanceTruth) -> None:
    with np.load(ROOM / DISTANCES) as arrays:
        points, distance = torch.from_numpy(arrays["points"]), torch.from_numpy(arrays["distance"])
    assert torch.equal(shipped.on_surface, distance < SURFACE)
    assert 0.19 < shipped.on_surface.float().mean() < 0.22
    left = shipped.mesh.distance(shipped.points[shipped.on_surface])
    assert left.mean() < 1e-6 and left.max() < 1e-3  # single precision at slivers
    assert torch.equal(shipped.points[~shipped.on_surface], points[~shipped.on_surface])
    assert (shipped.points - points).norm(dim=-1).max() < 4 * SURFACE  # the mesh that ships is a little simplified


def test_gradients_are_those_of_the_distance(folder: Path) -> None:
    truth = DistanceTruth.load(folder)
    free = truth.distances > 0.05
    step, gradients = 1e-3, []
    for axis in torch.eye(3):
        ahead, back = (inside_distance((truth.points + sign * step * axis)[free].numpy()) for sign in (1, -1))
        gradients.append(torch.from_numpy((ahead - back) / (2 * step)))
    agreement = (torch.stack(gradients, dim=-1) * truth.gradients[free]).sum(dim=-1)
    assert (agreement > 0.999).float().mean() > 0.98  # all but the points with two nearest walls
    assert (truth.gradients[truth.on_surface] == 0).all() and truth.on_surface.any()


def test_a_part_keeps_the_mesh_and_the_gradients(folder: Path) -> None:
    truth = DistanceTruth.load(folder)
    chosen = torch.arange(len(truth)) % 7 == 0
    early = truth.part(chosen)
    gradients = truth.gradients
    late = truth.part(chosen)
    assert len(early) == len(late) == int(chosen.sum())
    assert torch.equal(early.gradients, gradients[chosen]) and torch.equal(late.gradients, gradients[chosen])
    assert early.mesh is truth.mesh


def test_a_transforms_file_stands_for_its_folder(folder: Path) -> None:
    assert len(DistanceTruth.load(folder / "transforms.json")) == len(DistanceTruth.load(folder))


def rewrite(path: Path, **changes) -> None:
    with np.load(path) as arrays:
        kept = dict(arrays)
    np.savez(path, **{name: array for name, array in (kept | changes).items() if array is not None})


@pytest.mark.parametrize("name", [DISTANCES, MESH])
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "text"])
def test_files_that_cannot_be_read_are_named(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.write_bytes({"half": content[: len(content) // 2], "text": b"distances"}.get(damage, b""))
    if damage == "missing":
        path.unlink()
    with pytest.raises(InputError, match=name):
        DistanceTruth.load(folder)


def test_damage_within_an_array_is_noticed(folder: Path) -> None:
    path = folder / DISTANCES
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{DISTANCES} cannot be read"):
        DistanceTruth.load(folder)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        (DISTANCES, {"distance": None}, "holds points, not points and distance"),
        (DISTANCES, {"points": np.zeros((5, 2), np.float32)}, r"points has the shape \(5, 2\)"),
        (DISTANCES, {"distance": np.zeros((5, 1), np.float32)}, r"points has the shape"),
        (DISTANCES, {"points": np.zeros((0, 3)), "distance": np.zeros(0)}, r"points has the shape \(0, 3\)"),
        (DISTANCES, {"distance": np.full(1200, np.nan)}, "no finite numbers"),
        (DISTANCES, {"distance": np.full(1200, -1.0)}, "unsigned"),
        (DISTANCES, {"distance": np.full(1200, 0.5)}, "on a surface"),
        (MESH, {"triangles": np.zeros((4, 4), int)}, "triangles has the shape"),
        (MESH, {"triangles": np.full((4, 3), 8)}, "do not number its 8 vertices"),
        (MESH, {"triangles": np.zeros((4, 3))}, "do not number"),
        (MESH, {"vertices": np.full((8, 3), np.inf)}, "no finite numbers"),
    ],
)
def test_arrays_that_are_no_truth_are_named(folder: Path, name: str, changes: dict, says: str) -> None:
    rewrite(folder / name, **changes)
    with pytest.raises(InputError, match=says) as raised:
        DistanceTruth.load(folder)
    assert name in raised.value.message


def test_two_files_of_different_scenes_are_refused(folder: Path) -> None:
    with np.load(folder / MESH) as arrays:
        rewrite(folder / MESH, vertices=1000 * arrays["vertices"])
    with pytest.raises(InputError, match="of one scene, in metres"):
        DistanceTruth.load(folder)
