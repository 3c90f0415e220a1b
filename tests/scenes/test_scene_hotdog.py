"""The scene that ships: scenes/hotdog is complete, small, and its cameras agree with its pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from eugen_fields.meshing.finishing.silhouette import iou
from eugen_fields.meshing.finishing.silhouette import silhouette as meshing_silhouette

HOTDOG = Path(__file__).parents[2] / "scenes" / "hotdog"
COUNTS = {"train": 100, "val": 4, "test": 20}


def transforms(split):
    return json.loads((HOTDOG / f"transforms_{split}.json").read_text())


def poses(split):
    return np.array([frame["transform_matrix"] for frame in transforms(split)["frames"]])


def silhouette(split, number):
    frame = transforms(split)["frames"][number]
    return np.asarray(Image.open(HOTDOG / f"{frame['file_path']}.png"))[..., 3] > 127


@pytest.mark.parametrize("split", COUNTS)
def test_images_are_those_of_the_transforms(split):
    frames = transforms(split)["frames"]
    assert len(frames) == COUNTS[split]
    assert {f"{Path(frame['file_path']).name}.png" for frame in frames} == {p.name for p in (HOTDOG / split).iterdir()}
    for frame in frames:
        with Image.open(HOTDOG / f"{frame['file_path']}.png") as image:
            assert (image.size, image.mode, image.format) == ((200, 200), "RGBA", "PNG")
            alpha = np.asarray(image)[..., 3]
        assert alpha.max() == 255 and 0.02 < alpha.mean() / 255 < 0.5


@pytest.mark.parametrize("split", COUNTS)
def test_poses_are_rigid_and_look_at_the_origin(split):
    views = poses(split)
    rotations, positions = views[:, :3, :3], views[:, :3, 3]
    assert np.allclose(views[:, 3], [0, 0, 0, 1])
    assert np.allclose(rotations.transpose(0, 2, 1) @ rotations, np.eye(3), atol=1e-9)
    assert np.allclose(np.linalg.det(rotations), 1)
    assert np.allclose(positions, 4.0311 * rotations[:, :, 2], atol=1e-6)  # OpenGL: the camera looks down its -z
    assert (positions[:, 2] > 0).all()
    assert transforms(split)["camera_angle_x"] == pytest.approx(0.6911112070083618)


def test_scene_is_small_and_licensed():
    files = [path for path in HOTDOG.rglob("*") if path.is_file()]
    assert len(files) == sum(COUNTS.values()) + len(COUNTS) + 1
    assert sum(path.stat().st_size for path in files) < 4_000_000
    assert "CC0" in (HOTDOG.parent / "LICENSE.md").read_text()


def test_silhouettes_agree_with_poses():
    """Points inside every training silhouette (the visual hull) cover the silhouettes of the test views."""
    axis = np.linspace(-1.2, 1.2, 60)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    focal = 100 / np.tan(transforms("train")["camera_angle_x"] / 2)

    def pixels(pose, points):
        camera = (points - pose[:3, 3]) @ pose[:3, :3]
        columns, rows = 100 - focal * camera[:, 0] / camera[:, 2], 100 + focal * camera[:, 1] / camera[:, 2]
        return np.clip(np.stack([rows, columns]).astype(int), 0, 199)

    for number in range(0, 100, 4):
        rows, columns = pixels(poses("train")[number], points)
        points = points[silhouette("train", number)[rows, columns]]
    assert len(points) > 500
    for number in range(0, 20, 3):
        covered = np.zeros((200, 200), dtype=bool)
        rows, columns = pixels(poses("test")[number], points)
        for down in range(-2, 3):  # a grid step is 3 pixels
            for right in range(-2, 3):
                covered[np.clip(rows + down, 0, 199), np.clip(columns + right, 0, 199)] = True
        expected = silhouette("test", number)
        overlap = (covered & expected).sum() / (covered | expected).sum()
        assert overlap > 0.8, (number, overlap)


def test_the_true_mesh_has_the_silhouettes_of_the_images():
    with np.load(HOTDOG / "mesh_ground_truth.npz", allow_pickle=False) as arrays:
        mesh = trimesh.Trimesh(arrays["vertices"], arrays["triangles"].astype(np.int64), process=False)
    assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(1.2)
    focal = 100 / np.tan(transforms("test")["camera_angle_x"] / 2)
    for number in range(0, 20, 5):
        seen = meshing_silhouette(mesh, poses("test")[number], focal, focal, 100, 100, 200, 200)
        assert iou(seen, silhouette("test", number)) > 0.985
