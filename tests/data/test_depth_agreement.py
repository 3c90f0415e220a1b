"""Depth images that disagree under the poses: the message names exactly the flags with which they agree, units of depth
and of poses searched at once; and with these flags the points are those of the room."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.captures import each_pose, edit
from support.depth_recordings import (
    CX,
    CY,
    FX,
    FY,
    HEIGHT,
    TO_OPENCV,
    WIDTH,
    depth_image,
    directions,
    poses,
    world_points,
    write_depth,
    write_replica,
    write_transforms,
    write_tum,
)

from eugen_fields.data.depth.depth_agreement import Agreement, Reading
from eugen_fields.data.depth.depth_reading import read_depth_stream
from eugen_fields.errors import InputError

COUNT = 12
SHIPPED = Path(__file__).parents[2] / "scenes" / "room"


def advice(folder: Path, **options) -> tuple[dict, str]:
    """The flags that the refusal of a recording names, as arguments of read_depth_stream, and the message."""
    with pytest.raises(InputError) as caught:
        read_depth_stream(folder, **options)
    message = caught.value.message
    flags = re.search(r"`depth-stream (.*?)`", message)
    assert flags, message
    words = flags[1].split()
    named = {name.removeprefix("--").replace("-", "_"): value for name, value in zip(words[::2], words[1::2])}
    numbers = {"depth_unit_scale_factor", "pose_scale"}
    found = {
        name: float(value) if name in numbers else value == "True" if value in ("True", "False") else value
        for name, value in named.items()
    }
    return found, message


def rewrite_depths(folder: Path, units_a_metre: float, along: str = "axis") -> None:
    for index, pose in enumerate(poses(COUNT)):
        depth = depth_image(pose)
        if along == "ray":
            depth = depth * np.linalg.norm(directions(pose), axis=-1)
        write_depth(folder / f"depth/{index:04d}.png", depth, units_a_metre)


def scaled_poses(factor: float):
    return each_pose(lambda pose: pose * np.array([1, 1, 1, factor]) + (1 - factor) * np.diag([0, 0, 0, 1]))


def points_agree(folder: Path, within: float = 0.02, **options) -> None:
    stream = read_depth_stream(folder, **options)
    for index, pose in enumerate(poses(COUNT)):
        np.testing.assert_allclose(stream.points(index).numpy(), world_points(pose), atol=within)


@pytest.mark.parametrize(
    ("units_a_metre", "pose_units_a_metre", "flags"),
    [
        (5000.0, 1.0, {"depth_unit_scale_factor": 0.0002}),
        (6553.5, 1.0, {"depth_unit_scale_factor": 1 / 6553.5}),
        (10000.0, 1.0, {"depth_unit_scale_factor": 0.0001}),
        (4000.0, 1.0, {"depth_unit_scale_factor": 0.00025}),
        (100.0, 1.0, {"depth_unit_scale_factor": 0.01}),
        (1000.0, 100.0, {"pose_scale": 0.01}),
        (1000.0, 1000.0, {"pose_scale": 0.001}),
        (1000.0, 0.001, {"pose_scale": 1000.0}),
        (100.0, 100.0, {"depth_unit_scale_factor": 0.01, "pose_scale": 0.01}),
    ],
)
def test_factors_of_depth_and_of_poses_are_found(
    units_a_metre: float, pose_units_a_metre: float, flags: dict, tmp_path: Path
) -> None:
    write_transforms(tmp_path, COUNT)
    rewrite_depths(tmp_path, units_a_metre)
    edit(tmp_path, scaled_poses(pose_units_a_metre))
    found, message = advice(tmp_path)
    assert found == pytest.approx(flags, rel=1e-4), message
    points_agree(tmp_path, **found)


def test_depth_along_rays_is_noticed_and_read(tmp_path: Path) -> None:
    write_transforms(tmp_path, COUNT)
    rewrite_depths(tmp_path, 1000.0, along="ray")
    found, message = advice(tmp_path)
    assert found == {"depth_along": "ray"} and "depth is measured along rays, not along the cameras' axes" in message
    points_agree(tmp_path, 0.002, **found)
    rewrite_depths(tmp_path, 1000.0)
    assert advice(tmp_path, depth_along="ray")[0] == {"depth_along": "axis"}


def test_depth_along_rays_in_other_units_needs_two_flags(tmp_path: Path) -> None:
    write_transforms(tmp_path, COUNT)
    rewrite_depths(tmp_path, 5000.0, along="ray")
    found, message = advice(tmp_path)
    assert found == pytest.approx({"depth_unit_scale_factor": 0.0002, "depth_along": "ray"}), message
    points_agree(tmp_path, **found)


def test_limits_of_depth_along_rays_are_of_depth_along_the_axis(tmp_path: Path) -> None:
    write_transforms(tmp_path, COUNT)
    rewrite_depths(tmp_path, 1000.0, along="ray")
    stream = read_depth_stream(tmp_path, depth_along="ray", max_depth=1.8)
    for index, pose in enumerate(poses(COUNT)):
        truth = depth_image(pose)
        sure = np.abs(truth - 1.8) > 0.002
        np.testing.assert_allclose(
            stream.depth(index).numpy()[sure], np.where(truth <= 1.8, truth, 0)[sure], atol=0.002
        )


@pytest.mark.parametrize("opencv", [False, True])
def test_inverted_poses_are_named_and_can_be_read(opencv: bool, tmp_path: Path) -> None:
    write_transforms(tmp_path, COUNT)
    edit(tmp_path, each_pose(lambda pose: np.linalg.inv(pose @ TO_OPENCV if opencv else pose)))
    found, message = advice(tmp_path)
    assert found == {"inverted_poses": True} | ({"camera_axes": "opencv"} if opencv else {})
    assert "the poses are world-to-camera matrices" in message
    points_agree(tmp_path, 0.002, **found)


@pytest.mark.parametrize("units_a_metre", [1000.0, 6553.5])
def test_other_layouts_in_other_units(units_a_metre: float, tmp_path: Path) -> None:
    write_tum(tmp_path, COUNT)
    for path, pose in zip(sorted((tmp_path / "depth").iterdir()), poses(COUNT)):
        write_depth(path, depth_image(pose), units_a_metre)
    found, message = advice(tmp_path)
    assert found == pytest.approx({"depth_unit_scale_factor": 1 / units_a_metre}, rel=1e-4), message
    points_agree(tmp_path, **found)


def test_inverted_poses_of_replica(tmp_path: Path) -> None:
    write_replica(tmp_path, COUNT)
    rows = np.loadtxt(tmp_path / "traj.txt").reshape(-1, 4, 4)
    np.savetxt(tmp_path / "traj.txt", np.linalg.inv(rows).reshape(-1, 16))
    found, _ = advice(tmp_path)
    assert found == {"inverted_poses": True}
    points_agree(tmp_path, 0.002, **found)


def test_the_room_that_ships_agrees_and_says_what_would_not() -> None:
    stream = read_depth_stream(SHIPPED)
    agreement = Agreement(stream, "opengl", "axis")
    right = agreement.now()
    assert right < 0.012, "with the noise of a depth camera"
    for reading in (
        Reading(unit=1.1), Reading(pose=1.1), Reading(along="ray"), Reading(other_axes=True), Reading(inverted=True),
    ):  # fmt: skip
        assert agreement.difference(reading) > 1.25 * right
    assert agreement.difference(Reading(unit=7.0, pose=7.0)) == pytest.approx(right), "only their ratio shows"


def test_slips_of_several_kinds_at_once() -> None:
    found, _ = advice(
        SHIPPED, depth_unit_scale_factor=0.0002, depth_along="ray", camera_axes="opencv", inverted_poses=True
    )
    expected = {"depth_along": "axis", "camera_axes": "opengl", "inverted_poses": False}
    assert found == expected | {"depth_unit_scale_factor": pytest.approx(0.001)}


@pytest.mark.parametrize("factor", [0.5, 1.5, 4.0])
def test_focal_lengths_of_images_of_another_size_are_named(factor: float, tmp_path: Path) -> None:
    write_transforms(tmp_path, COUNT)
    edit(tmp_path, lambda content: content.update(fl_x=factor * FX, fl_y=factor * FY))
    with pytest.raises(
        InputError, match="The intrinsics are of another camera, or of images of another size"
    ) as caught:
        read_depth_stream(tmp_path)
    found = re.search(r"the focal lengths were about (\S+) times what they are", caught.value.message)
    assert found and float(found[1]) == pytest.approx(1 / factor, rel=0.01)


def test_what_nothing_mends_gets_a_warning(tmp_path: Path) -> None:
    write_transforms(tmp_path, COUNT)
    others = iter(np.random.default_rng(0).permutation(poses(COUNT)))
    edit(tmp_path, each_pose(lambda _: next(others)))
    with pytest.warns(UserWarning, match="no common unit, axis or direction of depth mends that. Intrinsics may be of"):
        read_depth_stream(tmp_path)


def test_frames_that_see_nothing_in_common_pass(tmp_path: Path) -> None:
    write_transforms(tmp_path, COUNT)
    edit(tmp_path, lambda content: content.update(frames=content["frames"][:1] * 4))
    turns = iter(np.arange(4))
    flat = np.full((HEIGHT, WIDTH), 1.5)
    write_depth(tmp_path / "depth/0000.png", flat + 0.3 * np.random.default_rng(0).random(flat.shape), 1000.0)

    def turned(pose: np.ndarray) -> np.ndarray:
        angle = 0.5 * np.pi * next(turns)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
        return np.vstack([np.c_[turn @ pose[:3, :3], pose[:3, 3] + 3 * angle], [0, 0, 0, 1]])

    edit(tmp_path, each_pose(turned))
    assert len(read_depth_stream(tmp_path)) == 4


def test_principal_points_outside_of_the_image_are_named(tmp_path: Path) -> None:
    write_transforms(tmp_path, 2)
    edit(tmp_path, lambda content: content.update(cx=4 * CX, cy=4 * CY, fl_x=4 * FX, fl_y=4 * FY))
    with pytest.raises(InputError, match=rf"principal point \(62, 50\) is outside the image of {WIDTH}x{HEIGHT}"):
        read_depth_stream(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (np.transpose, "transposed"),
        (lambda pose: pose * np.array([[1.1], [1.1], [1.1], [1.0]]), "It holds a scale of 1.1"),
        (lambda pose: pose @ np.diag([-1.0, 1.0, 1.0, 1.0]), "It is a mirror image"),
    ],
)
def test_what_is_wrong_with_poses_is_said(change, says: str, tmp_path: Path) -> None:
    write_transforms(tmp_path, 3)
    edit(tmp_path, each_pose(change))
    with pytest.raises(InputError, match="none of its 3 frames can be used") as caught:
        read_depth_stream(tmp_path)
    assert says in caught.value.message


def test_three_rows_are_enough(tmp_path: Path) -> None:
    write_transforms(tmp_path, 3)
    edit(tmp_path, each_pose(lambda pose: pose[:3]))
    np.testing.assert_allclose(read_depth_stream(tmp_path).poses.numpy(), poses(3), atol=1e-6)


def test_coordinates_too_large_for_float32_are_named(tmp_path: Path) -> None:
    write_transforms(tmp_path, COUNT)
    edit(tmp_path, each_pose(lambda pose: np.vstack([pose[:3] + [[0, 0, 0, 5.2e6]], pose[3:]])))
    with pytest.raises(InputError, match="from the origin, where float32.*Subtract the same offset"):
        read_depth_stream(tmp_path)


def test_the_file_itself_is_left_as_it_is(tmp_path: Path) -> None:
    write_transforms(tmp_path, 3)
    before = json.loads((tmp_path / "transforms.json").read_text())
    read_depth_stream(tmp_path)
    assert json.loads((tmp_path / "transforms.json").read_text()) == before
