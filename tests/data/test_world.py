"""The way back to the world: whatever turns, moves or scales cameras, they and meshes return to where the files say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.instant_ngp_dataparser import InstantNGPDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from scipy.spatial.transform import Rotation
from support.captures import each_pose, edit, file_poses, read
from support.helpers import look_at_origin, write_capture_scene, write_colmap_scene, write_sphere_scene
from support.pairwise import pairwise

from eugen_fields.data.cameras.placing import place_cameras
from eugen_fields.errors import InputError
from eugen_fields.meshing.build import place
from eugen_fields.meshing.options import MeshOptions
from eugen_fields.runs.open import read_world_from_scene

APPLIED = {
    "none": None,
    "axes": [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]],
    "all": [[0, 0, 2, 0.5], [1, 0, 0, -3.0], [0, 1, 0, 7.0], [0, 0, 0, 1]],
}
OPTIONS = {
    "orientation_method": ["pca", "up", "vertical", "none"],
    "center_method": ["poses", "focus", "none"],
    "auto_scale_poses": [True, False],
    "scale_factor": [1.0, 3.0],
    "applied": list(APPLIED),
    "applied_scale": [1.0, 0.02],
    "layout": ["turned", "walk", "line", "far"],
}


def layout_poses(layout: str, count: int = 12) -> np.ndarray:
    """(count, 4, 4) poses about an object, turned any way; looking about on a walk; all alike along a line; or about an
    object in the coordinates of a map."""
    random = np.random.default_rng(5)
    if layout == "line":
        poses = np.tile(look_at_origin(0.3, -0.5, 2.0), (count, 1, 1))
        poses[:, :3, 3] += np.arange(count)[:, None] * [0.4, 0.1, 0.0]
        return poses
    poses = np.stack([look_at_origin(2.4 * k, 0.1 + 0.1 * (k % 6), 3.0 + 0.3 * (k % 4)) for k in range(count)])
    if layout == "walk":
        poses[:, :3, :3] = Rotation.random(count, random).as_matrix()
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [2.0, -0.7, 1.1]).as_matrix()
    turn[:3, 3] = [4.5e5, 5.2e6, 80.0] if layout == "far" else [3.0, -2.0, 0.7]
    return turn @ poses


@pytest.mark.parametrize("values", pairwise(*OPTIONS.values()), ids=lambda values: "-".join(map(str, values)))
@pytest.mark.filterwarnings("ignore:the cameras look in parallel")
def test_cameras_and_meshes_come_back(values: tuple, tmp_path: Path) -> None:
    chosen = dict(zip(OPTIONS, values))
    poses = layout_poses(chosen["layout"])
    scene = write_capture_scene(tmp_path / "ball", count=len(poses))
    rows = iter(poses)
    edit(scene, each_pose(lambda _: next(rows)))
    applied = np.eye(4)
    if chosen["applied"] != "none":
        edit(scene, lambda content: content.update(applied_transform=APPLIED[chosen["applied"]]))
        applied[:3] = np.array(APPLIED[chosen["applied"]], dtype=float)[:3]
    applied[:3] *= chosen["applied_scale"]
    edit(scene, lambda content: content.update(applied_scale=chosen["applied_scale"]))
    names = ("orientation_method", "center_method", "auto_scale_poses", "scale_factor")
    parser = NerfstudioDataParserConfig(data=scene, **{name: chosen[name] for name in names})
    before = np.linalg.inv(applied)
    places = (before @ poses)[:, :3, 3]
    tolerance = 1e-4 * np.ptp(places, axis=0).max()
    if chosen["layout"] == "far" and chosen["center_method"] == "none":
        with pytest.raises(InputError, match="float32, in which training computes, has steps.*`--center-method poses`"):
            read(parser)
        return
    for split in ("train", "val"):
        outputs = read(parser, split)
        outputs.save_dataparser_transform(tmp_path / "run" / "dataparser_transforms.json")
        world = read_world_from_scene(tmp_path / "run" / "dataparser_transforms.json").numpy()
        numbers = [int(path.stem[-5:]) for path in outputs.image_filenames]
        scene_places = outputs.cameras.camera_to_worlds[:, :, 3].double().numpy()
        back = scene_places @ world[:3, :3].T + world[:3, 3]
        assert np.abs(back - places[numbers]).max() < tolerance
        exported = outputs.transform_poses_to_original_space(outputs.cameras.camera_to_worlds, "opengl").numpy()
        assert np.abs(exported[:, :, 3] - places[numbers]).max() < tolerance
        looking = outputs.cameras.camera_to_worlds[:, :, :3].double().numpy()
        assert np.abs(looking @ looking.transpose(0, 2, 1) - np.eye(3)).max() < 1e-5, "still rotations"
        assert (np.linalg.det(looking) > 0).all()
        run: Any = SimpleNamespace(world_from_scene=torch.from_numpy(world))
        mesh = place(trimesh.Trimesh(scene_places, process=False), run, MeshOptions())
        assert np.abs(mesh.vertices - places[numbers]).max() < tolerance
        if chosen["auto_scale_poses"] and split == "train":
            assert np.abs(scene_places).max() <= 1.0001 * chosen["scale_factor"]


def others(folder: Path) -> dict[str, tuple[DataParserConfig, dict[str, np.ndarray]]]:
    """Parsers of the other layouts with options that move cameras, and the poses by image that should come back."""
    blender = write_sphere_scene(folder / "blender", train=4, test=1)
    ngp = write_capture_scene(folder / "ngp", count=8)
    moved = write_capture_scene(folder / "moved", count=8)
    edit(moved, lambda content: content.update(scale=0.25, offset=[0.7, 0.5, -0.5], aabb_scale=2))
    colmap = write_colmap_scene(folder / "colmap")
    truth = {f"photo_{k}": look_at_origin(2 * np.pi * k / 9, 0.2 + 0.3 * (k % 3), 4.0) for k in range(9)}
    return {
        "blender": (
            BlenderDataParserConfig(data=blender, scale_factor=0.3),
            file_poses(blender, "transforms_train.json"),
        ),
        "ngp": (InstantNGPDataParserConfig(data=ngp, scene_scale=0.7, eval_mode="all"), file_poses(ngp)),
        "ngp scale and offset": (InstantNGPDataParserConfig(data=moved, eval_mode="all"), file_poses(moved)),
        "colmap": (ColmapDataParserConfig(data=colmap, orientation_method="pca", center_method="focus"), truth),
        "colmap as it is": (
            ColmapDataParserConfig(
                data=colmap,
                orientation_method="none",
                center_method="none",
                assume_colmap_world_coordinate_convention=False,
            ),
            truth,
        ),
        "colmap vertical": (
            ColmapDataParserConfig(data=colmap, orientation_method="vertical", scale_factor=2.0),
            truth,
        ),
    }


def test_other_layouts_come_back_too(tmp_path: Path) -> None:
    for name, (parser, truth) in others(tmp_path).items():
        outputs = read(parser)
        back = outputs.transform_poses_to_original_space(outputs.cameras.camera_to_worlds, "opengl").numpy()
        assert len(back) >= 4, name
        for path, pose in zip(outputs.image_filenames, back):
            np.testing.assert_allclose(pose, truth[path.stem][:3], atol=1e-5, err_msg=name)


def test_scale_and_offset_of_instant_ngp_place_the_cameras(tmp_path: Path) -> None:
    parser, truth = others(tmp_path)["ngp scale and offset"]
    outputs = read(parser)
    places = np.stack([truth[path.stem][:3, 3] for path in outputs.image_filenames])
    expected = 0.25 * places + np.array([0.2, 0.0, -1.0])  # instant-ngp's places less its middle, 0.5
    np.testing.assert_allclose(outputs.cameras.camera_to_worlds[:, :, 3].numpy(), expected, atol=1e-6)
    assert outputs.scene_box.aabb.tolist() == [[-1.0] * 3, [1.0] * 3]
    chosen = read(replace(parser, scene_scale=0.5))
    assert chosen.dataparser_scale == 0.5, "the flag goes before the file"


def test_orientations_mean_what_their_names_say() -> None:
    poses = layout_poses("turned")
    pca = place_cameras(poses, "pca", "poses", False, 1.0)
    places = pca.cameras(poses)[:, :, 3].double().numpy()
    covariance = places.T @ places
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-3 * covariance.max(), "principal axes"
    assert covariance[0, 0] >= covariance[1, 1] >= covariance[2, 2], "z is the smallest"
    assert pca.cameras(poses)[:, 2, 1].mean() > 0, "upright"
    for orientation in ("up", "vertical"):
        placed = place_cameras(poses, orientation, "poses", False, 1.0).cameras(poses)
        up = placed[:, :, 1].mean(dim=0)
        assert float(up[2] / up.norm()) > 0.999
        assert float(placed[:, 2, 0].abs().max()) < (1e-5 if orientation == "vertical" else 0.1), "level horizons"
    focus = place_cameras(poses, "up", "focus", False, 1.0)
    seen = focus.transform @ [*layout_point(), 1.0]
    assert np.abs(seen).max() < 1e-6, "what all look at is the origin"


def layout_point() -> np.ndarray:
    """What the cameras of the layout "turned" look at."""
    return np.array([3.0, -2.0, 0.7])


@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_cameras_at_one_place_are_not_scaled(count: int, noise: float, tmp_path: Path) -> None:
    scene = write_capture_scene(tmp_path / "ball", count=count)
    random = np.random.default_rng(0)

    def stand(pose: np.ndarray) -> np.ndarray:
        pose[:3, 3] = [1.0, 2.0, 1.5] + random.normal(scale=noise, size=3)
        return pose

    edit(scene, each_pose(stand))
    for center in ("poses", "focus", "none"):
        parser = NerfstudioDataParserConfig(data=scene, eval_mode="all", center_method=center)
        with pytest.warns(UserWarning, match=rf"all cameras \({count}\) stand at one place: the scene is not scaled"):
            outputs = read(parser)
        assert outputs.dataparser_scale == 1.0
        assert float(outputs.cameras.camera_to_worlds[:, :, 3].abs().max()) < 3.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"applied_transform": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}, '"applied_transform" is'),
        ({"applied_transform": [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]}, "an invertible 3x4 matrix"),
        ({"applied_transform": "x"}, "\"applied_transform\" is 'x'"),
        ({"applied_scale": 0}, '"applied_scale" is 0; it must be a positive number'),
        ({"applied_scale": "large"}, "\"applied_scale\" is 'large'"),
    ],
)
def test_what_cannot_have_been_applied_is_named(change: dict, says: str, tmp_path: Path) -> None:
    scene = write_capture_scene(tmp_path / "ball", count=3)
    edit(scene, lambda content: content.update(change))
    with pytest.raises(ValueError, match="transforms.json") as caught:
        read(NerfstudioDataParserConfig(data=scene, eval_mode="all"))
    assert says in str(caught.value)


def test_the_way_back_is_written_with_all_digits(tmp_path: Path) -> None:
    poses = layout_poses("far")
    scene = write_capture_scene(tmp_path / "ball", count=len(poses))
    rows = iter(poses)
    edit(scene, each_pose(lambda _: next(rows)))
    outputs = read(NerfstudioDataParserConfig(data=scene))
    outputs.save_dataparser_transform(tmp_path / "t.json")
    content = json.loads((tmp_path / "t.json").read_text())
    assert np.array(content["transform"]).tolist() == outputs.placement.transform.tolist()
    assert content["scale"] == outputs.placement.scale
