"""From photos to a mesh as README has it: the photos of scenes/garden_table, without their poses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from nerfstudio.scripts import train
from support.helpers import here, typed
from support.similarity import fit_similarity, similarity_errors

from eugen_fields.benchmark.distance.distance_truth import TriangleDistance
from eugen_fields.data.photos.command import PhotoOptions, place_photos
from eugen_fields.meshing.finishing.silhouette import cast_rays

SCENES = Path(__file__).parents[3] / "scenes"
GARDEN = SCENES / "garden_table"
STEPS = 1200
GROUND = 1.6
"""Half of the side of the piece of ground round the table that the mesh is compared with."""

pytestmark = pytest.mark.slow  # ten minutes


def poses_of(scene: Path) -> dict[str, np.ndarray]:
    frames = json.loads((scene / "transforms.json").read_text())["frames"]
    return {
        Path(frame["file_path"]).name: np.array(frame["transform_matrix"])
        for frame in frames
        if not frame["file_path"].startswith("test/")
    }


def distances(mesh: trimesh.Trimesh, truth: trimesh.Trimesh, poses: np.ndarray) -> tuple[float, float]:
    """Mean distance of what the photos show of a mesh from the truth, and of what they show of the truth from the mesh,
    both near the table.

    Args:
        poses: of the photos, (N, 4, 4), in the frame of both.
    """
    across, down = np.meshgrid(np.linspace(-0.6, 0.6, 25), np.linspace(-0.45, 0.45, 19))
    pixels = np.stack([across, down, -np.ones_like(across)], axis=-1).reshape(-1, 3)
    directions = np.concatenate([pixels @ pose[:3, :3].T for pose in poses])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origins = np.repeat(poses[:, :3, 3], len(pixels), axis=0)
    means = []
    for one, other in ((mesh, truth), (truth, mesh)):
        met, weights = cast_rays(one, origins, directions)
        corners = np.asarray(one.vertices)[np.asarray(one.faces)[met[met >= 0]]]
        points = np.einsum("nc,ncd->nd", weights[met >= 0], corners)
        points = points[(np.abs(points[:, :2]) < GROUND).all(axis=1)]
        assert len(points) > len(origins) / 4
        distance = TriangleDistance(other.vertices, other.faces).distance(torch.from_numpy(points).float())
        means.append(float(distance.double().mean()))
    return means[0], means[1]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("garden") / "capture"
    place_photos(PhotoOptions(GARDEN / "train", folder), progress=False)
    return folder


@pytest.fixture(scope="module")
def true_shape(tmp_path_factory: pytest.TempPathFactory) -> trimesh.Trimesh:
    """The table as scenes/render.py places it, on a square of ground."""
    sys.path.insert(0, str(SCENES))
    try:
        from pathtracer import model_mesh
        from shapes.catalogue import FURNITURE, find_models
    finally:
        sys.path.remove(str(SCENES))
    if not FURNITURE.is_dir():
        pytest.skip(f"no furniture in {FURNITURE}: apt-get install sweethome3d-furniture")
    name = json.loads((GARDEN / "render.json").read_text())["model"]
    (model,) = (model for model in find_models(FURNITURE) if model.qualified_name == name)
    vertices, faces = model_mesh(model)
    vertices[:, 2] -= vertices[:, 2].min()
    ground = np.array([[x, y, 0.0] for x in (-GROUND, GROUND) for y in (-GROUND, GROUND)])
    square = trimesh.Trimesh(ground, [[0, 2, 1], [1, 2, 3]], process=False)
    return trimesh.util.concatenate([trimesh.Trimesh(vertices, faces, process=False), square])


def test_poses_of_most_photos_are_those_of_the_truth(capture: Path) -> None:
    found, truth = poses_of(capture), poses_of(GARDEN)
    assert len(found) >= 50
    pairs = [(found[name][:3, 3], truth[name][:3, 3]) for name in found]
    errors = similarity_errors(*map(np.array, zip(*pairs)))
    assert np.median(errors) < 0.01 and errors.max() < 0.05
    lens, true_lens = (json.loads((folder / "transforms.json").read_text()) for folder in (capture, GARDEN))
    assert lens["fl_x"] == pytest.approx(true_lens["fl_x"], rel=0.02)
    assert lens["k1"] == pytest.approx(true_lens["k1"], abs=0.04)


def test_the_mesh_is_within_two_per_cent_of_the_truth(
    capture: Path, true_shape: trimesh.Trimesh, tmp_path: Path
) -> None:
    config = typed("eugen-planes-tiny", capture, tmp_path, "--max-num-iterations", STEPS, "nerfstudio-data")
    train.main(config)
    done = here("eugen-export", config.get_base_dir(), "--output", tmp_path / "mesh.ply", "--device", "cpu")
    assert done.returncode == 0 and "what most cameras see" in done.stdout, done.stderr
    found, truth = poses_of(capture), poses_of(GARDEN)
    places, true_places = (np.array([poses[name][:3, 3] for name in found]) for poses in (found, truth))
    mesh = trimesh.load(tmp_path / "mesh.ply", process=False)
    mesh.apply_transform(fit_similarity(places, true_places))
    size = float(np.linalg.norm(true_places - true_places.mean(axis=0), axis=1).mean())
    accuracy, completion = distances(mesh, true_shape, np.array([truth[name] for name in found]))
    assert accuracy < 0.02 * size and completion < 0.02 * size, (accuracy, completion, size)
