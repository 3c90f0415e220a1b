"""Poses are checked as the file has them, before anything turns or scales them; messages say what they look like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.instant_ngp_dataparser import InstantNGPDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from support.captures import each_pose, edit, file_poses, read
from support.helpers import look_at_origin, write_capture_scene, write_sphere_scene

from eugen_fields.data.cameras.poses import look_inverted, read_pose, spread
from eugen_fields.data.checks import check_scene
from eugen_fields.errors import InputError

POSE = look_at_origin(0.5, 0.4, 3.0)


def scaled(pose: np.ndarray) -> np.ndarray:
    pose = pose.copy()
    pose[:3, :3] *= 2.5
    return pose


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (scaled, "not rigid (its 3x3 part differs from a rotation by 5.2, determinant 15.6). It holds a scale of 2.5"),
        (lambda pose: pose @ np.diag([1.0, -1.0, 1.0, 1.0]), "determinant -1). It is a mirror image"),
        (lambda pose: pose @ np.diag([1.0, 1.2, 1.0, 1.0]), "Scale and shear must not be in camera poses"),
        (lambda pose: np.zeros((4, 4)) + np.diag([0.0, 0, 0, 1]), "not rigid"),
        (np.transpose, "The matrix is transposed, with the camera's place in its last row"),
        (lambda pose: pose * 2.0, "the last row of the pose is 0 0 0 2; it must be 0 0 0 1"),
        (lambda pose: np.where(np.eye(4) > 0, np.nan, pose), "holds NaN or infinity"),
        (lambda pose: np.concatenate([pose, pose]), "is not a 4x4 matrix of numbers"),
        (lambda pose: "none", "is not a 4x4 matrix of numbers"),
    ],
)
def test_what_is_no_pose_is_named(change: Callable, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read_pose(change(POSE), "t.json, frame 3")
    assert says in caught.value.message and caught.value.message.startswith("t.json, frame 3")


def test_three_rows_are_enough() -> None:
    np.testing.assert_array_equal(read_pose(POSE[:3].tolist(), ""), POSE)


@pytest.mark.parametrize("layout", ["blender", "nerfstudio", "instant-ngp"])
def test_every_layout_checks_poses_and_takes_three_rows(layout: str, tmp_path: Path) -> None:
    if layout == "blender":
        scene, name = write_sphere_scene(tmp_path / "ball", train=3, test=1), "transforms_train.json"
        parser = BlenderDataParserConfig(data=scene)
    else:
        scene, name = write_capture_scene(tmp_path / "ball", count=3), "transforms.json"
        kind = NerfstudioDataParserConfig if layout == "nerfstudio" else InstantNGPDataParserConfig
        parser = kind(data=scene, eval_mode="all")
    truth = file_poses(scene, name)
    edit(scene, each_pose(lambda pose: pose[:3]), name)
    outputs = read(parser)
    back = outputs.transform_poses_to_original_space(outputs.cameras.camera_to_worlds, "opengl").numpy()
    for path, pose in zip(outputs.image_filenames, back):
        np.testing.assert_allclose(pose, truth[path.stem][:3], atol=1e-6)
    edit(scene, each_pose(lambda pose: np.vstack([pose, [0, 0, 0, 1]]).T), name)
    with pytest.raises(InputError, match=r"frame 0 \(.*transposed"):
        check_scene(parser, scene, ("train",))


def around(count: int, wobble: float, seed: int = 0) -> np.ndarray:
    """Cameras about an object that do not all look at exactly one point."""
    random = np.random.default_rng(seed)
    poses = np.stack([look_at_origin(2.4 * k, 0.2 + 0.1 * (k % 5), 3.0 + k % 3) for k in range(count)])
    poses[:, :3, 3] += random.normal(scale=wobble, size=(count, 3)) + [5.0, -3.0, 1.0]
    return poses


@pytest.mark.parametrize("wobble", [0.0, 0.1, 0.3])
def test_inverted_poses_around_an_object_are_recognised(wobble: float) -> None:
    poses = around(20, wobble)
    assert look_inverted(np.linalg.inv(poses)) and not look_inverted(poses)


def test_inverted_poses_of_blender_scenes_are_recognised() -> None:
    poses = np.stack([look_at_origin(0.6 * k, 0.1 * (k % 7), 4.0) for k in range(12)])
    assert look_inverted(np.linalg.inv(poses)) and not look_inverted(poses)


def test_nothing_is_said_of_cameras_that_look_about() -> None:
    random = np.random.default_rng(1)
    for place in (np.zeros(3), [0.0, 0.0, 1.5], [1.0, 2.0, 1.5]):  # a tripod
        poses = np.tile(np.eye(4), (30, 1, 1))
        poses[:, :3, :3] = np.linalg.qr(random.normal(size=(30, 3, 3)))[0]
        poses[:, :3, 0] *= np.sign(np.linalg.det(poses[:, :3, :3]))[:, None]
        poses[:, :3, 3] = place
        assert not look_inverted(poses)
        poses[:, :3, 3] += random.normal(size=(30, 3))  # a walk
        assert not look_inverted(poses)


def test_inverted_poses_get_a_line(tmp_path: Path) -> None:
    scene = write_capture_scene(tmp_path / "ball", count=8)
    edit(scene, each_pose(np.linalg.inv))
    with pytest.warns(UserWarning, match="look like world-to-camera matrices"):
        read(NerfstudioDataParserConfig(data=scene, eval_mode="all"))


@pytest.mark.parametrize(
    ("scale", "noise", "expected"), [(1.0, 1e-7, False), (1e6, 0.05, False), (1.0, 1e-3, True), (1e6, 30.0, True)]
)
def test_cameras_at_one_place_are_those_within_rounding(scale: float, noise: float, expected: bool) -> None:
    places = scale * np.array([1.0, 2.0, 1.5]) + np.random.default_rng(0).normal(scale=noise, size=(20, 3))
    assert (spread(places) > 0) == expected
