"""Slips in depth streams: units, axes, and files that hold something else get one clear message with what mends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.depth_recordings import (
    TO_OPENCV,
    depth_image,
    poses,
    write_depth,
    write_replica,
    write_transforms,
    write_tum,
)

from eugen_fields.data.depth.depth_reading import read_depth_stream
from eugen_fields.errors import InputError


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "transforms.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refusal(folder: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_depth_stream(folder, **options)
    return caught.value.message


def each_pose(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict], None]:
    def apply(content: dict) -> None:
        for frame in content["frames"]:
            frame["transform_matrix"] = change(np.array(frame["transform_matrix"])).tolist()

    return apply


def moved(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pose: pose * np.array([1, 1, 1, factor]) + (1 - factor) * np.diag([0, 0, 0, 1])


def test_millimetres_read_as_metres(tmp_path: Path) -> None:
    message = refusal(write_transforms(tmp_path), depth_unit_scale_factor=1.0)
    assert "too far for a depth camera" in message and "--depth-unit-scale-factor 0.001`" in message


def test_metres_read_as_millimetres(tmp_path: Path) -> None:
    message = refusal(write_transforms(tmp_path, suffix=".npy"), depth_unit_scale_factor=0.001)
    assert "too near for a depth camera" in message and "--depth-unit-scale-factor 1`" in message


def test_a_near_limit_does_not_hide_a_wrong_unit(tmp_path: Path) -> None:
    assert "too far" in refusal(write_transforms(tmp_path), depth_unit_scale_factor=1.0, max_depth=5.0)


@pytest.mark.parametrize(("factor", "scale"), [(1000.0, "0.001"), (0.001, "1000")])
def test_translations_in_other_units_than_depths(factor: float, scale: str, tmp_path: Path) -> None:
    write_transforms(tmp_path, count=24)
    edit(tmp_path, each_pose(moved(factor)))
    message = refusal(tmp_path)
    assert f"--pose-scale {scale}`" in message and "different units" in message
    mended = read_depth_stream(tmp_path, pose_scale=float(scale))
    np.testing.assert_allclose(mended.poses.numpy(), poses(24), atol=1e-5)


def test_opencv_axes_in_a_transforms_file(tmp_path: Path) -> None:
    write_transforms(tmp_path, count=24)
    edit(tmp_path, each_pose(lambda pose: pose @ TO_OPENCV))
    assert "`depth-stream --camera-axes opencv`" in refusal(tmp_path)
    mended = read_depth_stream(tmp_path, camera_axes="opencv")
    np.testing.assert_allclose(mended.poses.numpy(), poses(24), atol=1e-6)


@pytest.mark.parametrize("write", [write_transforms, write_replica, write_tum])
@pytest.mark.parametrize("count", [1, 2, 24])
def test_right_units_pass(write: Callable[[Path, int], Path], count: int, tmp_path: Path) -> None:
    assert len(read_depth_stream(write(tmp_path, count))) == count


def test_a_camera_that_stands_still_passes(tmp_path: Path) -> None:
    write_transforms(tmp_path)
    for index in range(8):
        write_depth(tmp_path / f"depth/{index:04d}.png", depth_image(poses(1)[0]), 1000.0)
    edit(tmp_path, each_pose(lambda pose: poses(1)[0]))
    assert len(read_depth_stream(tmp_path)) == 8


def rewrite(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("write", "damage", "says"),
    [
        (write_transforms, rewrite("transforms.json", "{"), "transforms.json is not valid JSON"),
        (write_transforms, rewrite("transforms.json", '{"frames": [3]}'), '"frames" must be a list of objects'),
        (
            write_transforms,
            lambda folder: edit(folder, lambda content: [frame.pop("depth_file_path") for frame in content["frames"]]),
            'no frame has a "depth_file_path". For photos without depth put `nerfstudio-data`',
        ),
        (write_transforms, lambda folder: edit(folder, lambda content: content.pop("fl_x")), "no fl_x"),
        (
            write_transforms,
            lambda folder: edit(folder, lambda content: content.update(camera_model="OPENCV", k1=0.1)),
            "frame 0: its lens distorts",
        ),
        (
            write_transforms,
            lambda folder: edit(folder, lambda content: content.update(depth_unit_scale_factor=0)),
            '"depth_unit_scale_factor" is 0',
        ),
        (
            write_transforms,
            lambda folder: edit(folder, lambda content: content["frames"][2].pop("timestamp")),
            'frame 2: no "timestamp", which other frames have',
        ),
        (
            write_transforms,
            lambda folder: edit(folder, lambda content: content["frames"][2].update(timestamp="noon")),
            "frame 2: \"timestamp\" is 'noon'",
        ),
        (
            write_transforms,
            lambda folder: edit(folder, lambda content: content.update(w=31)),
            "has 32x24 pixels, the camera of",
        ),
        (
            write_transforms,
            lambda folder: [path.unlink() for path in (folder / "depth").iterdir()],
            "none of its 8 depth images can be used. the depth image",
        ),
        (
            write_transforms,
            lambda folder: [Image.new("L", (32, 24), 9).save(path) for path in (folder / "depth").iterdir()],
            "holds uint8: depth needs 16 bits a pixel, or floats",
        ),
        (
            write_transforms,
            lambda folder: edit(folder, each_pose(lambda pose: pose * np.nan)),
            "none of its 8 frames can be used: 8 with a pose that is missing, not finite or not rigid (first: frame 0",
        ),
        (write_replica, rewrite("traj.txt", "1 2 3\n"), "traj.txt, line 1: each line must hold the 16 numbers"),
        (
            write_replica,
            rewrite("cam_params.json", "{}"),
            "cam_params.json is no camera: it must hold w",
        ),
        (
            write_replica,
            lambda folder: [path.unlink() for path in (folder / "results").glob("depth*")],
            "results has no depth*.png",
        ),
        (write_tum, rewrite("groundtruth.txt", "# nothing\n"), "groundtruth.txt lists nothing"),
        (write_tum, rewrite("groundtruth.txt", "1 2 3 4\n"), "line 1: each line must hold timestamp tx ty tz qx"),
        (write_tum, rewrite("depth.txt", "noon depth/1.png\n"), "depth.txt, line 1: each line must hold a timestamp"),
        (write_tum, lambda folder: (folder / "depth.txt").unlink(), "is no posed depth stream"),
    ],
)
def test_files_that_hold_something_else_are_named(
    write: Callable[[Path], Path], damage: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    damage(write(tmp_path))
    message = refusal(tmp_path)
    assert says in message and str(tmp_path) in message


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"depth_unit_scale_factor": 0.0}, "--depth-unit-scale-factor 0.0: it must be above 0"),
        ({"pose_scale": -1.0}, "--pose-scale -1.0"),
        ({"max_depth": float("nan")}, "--max-depth nan"),
        ({"fps": 0.0}, "--fps 0.0"),
        ({"noisy_depth": True}, "--noisy-depth True is for folders with traj.txt"),
        ({"camera_file": Path("camera.json")}, "--camera-file camera.json is not for"),
    ],
)
def test_flags_that_make_no_sense_are_named(options: dict, says: str, tmp_path: Path) -> None:
    assert says in refusal(write_transforms(tmp_path), **options)


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path / 'gone'} does not exist. Give its folder with --data." in refusal(tmp_path / "gone")


def test_a_camera_file_without_a_camera_is_named(tmp_path: Path) -> None:
    folder = write_tum(tmp_path)
    (folder / "other.json").write_text('{"w": 3}')
    assert "other.json is no camera" in refusal(folder, camera_file=folder / "other.json")
    (folder / "other.json").write_text('{"w": 32, "h": 24, "fx": -5, "fy": 26, "cx": 16, "cy": 12}')
    assert '"fx" is -5; it must be a number of pixels' in refusal(folder, camera_file=folder / "other.json")
