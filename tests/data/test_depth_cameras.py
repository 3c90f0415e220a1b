"""Camera files of depth recordings in the forms that programs write: right, or an error that names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.depth_recordings import CX, CY, FX, FY, HEIGHT, WIDTH, poses, world_points, write_replica, write_tum

from eugen_fields.data.depth.depth_cameras import Camera, find_camera, read_camera
from eugen_fields.data.depth.depth_reading import read_depth_stream
from eugen_fields.errors import InputError

CENTRE = (CX - 0.5, CY - 0.5)
"""Of the principal point where the middle of the first pixel is at 0, 0."""
NUMBERS = {"fx": FX, "fy": FY, "cx": CENTRE[0], "cy": CENTRE[1]}
FLAT = {"w": WIDTH, "h": HEIGHT} | NUMBERS
ROWS = [FX, 0.0, CENTRE[0], 0.0, FY, CENTRE[1], 0.0, 0.0, 1.0]
COLUMNS = np.reshape(ROWS, (3, 3)).T.ravel().tolist()
SIZE = {"width": WIDTH, "height": HEIGHT}
ROS = f"""image_width: {WIDTH}
image_height: {HEIGHT}
camera_name: head
camera_matrix:
  rows: 3
  cols: 3
  data: {ROWS}
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.0, 0.0, 0.0, 0.0, 0.0]
"""
OPENCV = f"""%YAML:1.0
---
image_width: {WIDTH}
image_height: {HEIGHT}
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: {ROWS}
"""
ORB_SLAM = f"""%YAML:1.0
Camera.type: "PinHole"
Camera.fx: {FX}
Camera.fy: {FY}
Camera.cx: {CENTRE[0]}
Camera.cy: {CENTRE[1]}
Camera.k1: 0.0
Camera.width: {WIDTH}
Camera.height: {HEIGHT}
DepthMapFactor: 5000.0
"""
KALIBR = f"""cam0:
  camera_model: pinhole
  distortion_coeffs: [0, 0, 0, 0]
  intrinsics: [{FX}, {FY}, {CENTRE[0]}, {CENTRE[1]}]
  resolution: [{WIDTH}, {HEIGHT}]
"""
FORMS: dict[str, str] = {
    "camera.json": json.dumps(FLAT),
    "camera_with_sizes_spelt_out.json": json.dumps(SIZE | NUMBERS | {"scale": 5000}),
    "camera_of_open3d.json": json.dumps(SIZE | {"intrinsic_matrix": COLUMNS}),
    "camera_of_rows.json": json.dumps(SIZE | {"K": np.reshape(ROWS, (3, 3)).tolist()}),
    "camera_nested.json": json.dumps({"sensor": {"depth": SIZE | {"intrinsics": NUMBERS}}, "name": "mine"}),
    "camera_around.json": json.dumps(SIZE | {"intrinsics": NUMBERS | {"units": "pixels"}}),
    "camera_of_isdf.json": json.dumps({"dataset": {"depth_scale": 5000, "camera": FLAT}}),
    "camera_of_realsense.json": json.dumps(
        SIZE | {"ppx": CENTRE[0], "ppy": CENTRE[1], "fx": FX, "fy": FY, "depth_scale": 0.0002}
    ),
    "camera_of_nerfstudio.json": json.dumps({"w": WIDTH, "h": HEIGHT, "fl_x": FX, "fl_y": FY, "cx": CX, "cy": CY}),
    "camera_with_mark.json": "\ufeff" + json.dumps(FLAT),
    "camera_of_nice_slam.yaml": f"cam:\n  H: {HEIGHT}\n  W: {WIDTH}\n  fx: {FX}\n  fy: {FY}\n  cx: {CENTRE[0]}\n  cy: "
    f"{CENTRE[1]}\n  png_depth_scale: 5000.0\n",
    "camera_info.yaml": ROS,
    "camera_of_opencv.yml": OPENCV,
    "camera_of_orb_slam.yaml": ORB_SLAM,
    "camchain.yaml": KALIBR,
    "calibration.txt": f"{FX} {FY} {CENTRE[0]} {CENTRE[1]} 0 0 0 0 0\n",
    "intrinsics.txt": "\n".join(" ".join(map(str, ROWS[i : i + 3])) for i in (0, 3, 6)),
    "intrinsic_depth.txt": "\n".join(
        " ".join(map(str, row)) for row in [[*ROWS[:3], 0], [*ROWS[3:6], 0], [*ROWS[6:], 0], [0, 0, 0, 1]]
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_camera_and_points(name: str, tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "mine", count=2)
    (folder / "camera.json").unlink()
    (folder / name).write_text(FORMS[name], encoding="utf-8")
    camera = read_camera(folder / name)
    assert camera.intrinsics == pytest.approx((FX, FY, CX, CY)) and camera.size in ((WIDTH, HEIGHT), None)
    assert camera.scale in (None, 0.0002)
    stream = read_depth_stream(folder)
    torch.testing.assert_close(stream.intrinsics[1], torch.tensor([FX, FY, CX, CY]))
    np.testing.assert_allclose(stream.points(1).numpy(), world_points(poses(2)[1]), atol=1e-4)
    shutil.move(folder / name, tmp_path / name)
    np.testing.assert_allclose(
        read_depth_stream(folder, camera_file=tmp_path / name).points(1).numpy(), stream.points(1).numpy()
    )


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("camera.json", "{", "camera.json is no camera: Expecting property name"),
        ("camera.json", '{"width": 32}', "it must hold w, h, fx, fy, cx, cy, or a 3x3 matrix of intrinsics"),
        ("my_cam.json", "[1, 2]", "my_cam.json is no camera"),
        ("calib.json", json.dumps(FLAT | {"fx": "wide"}), "\"fx\" is 'wide'; it must be a number of pixels"),
        ("camera.json", json.dumps(FLAT | {"w": 32.5}), '"w" is 32.5; it must be a whole number of pixels'),
        (
            "camera.json",
            json.dumps(FLAT | {"cx": 320.0}),
            "the principal point (320, 12) is outside",
        ),
        ("camera.json", json.dumps(FLAT | {"scale": 0}), '"scale" is 0; it must be positive'),
        ("camera.json", json.dumps(FLAT | {"k1": -0.2}), "its lens distorts. Undistort the depth images first"),
        ("camera.yaml", ROS.replace("data: [0.0,", "data: [-0.3,"), "its lens distorts"),
        ("camera.json", json.dumps(SIZE | {"K": [1, 2, 3]}), "its 3 numbers are no intrinsics"),
        ("camera.json", json.dumps(SIZE | {"K": [FX, 3.0, *ROWS[2:]]}), "its 9 numbers are no intrinsics"),
        ("camera.yaml", "a: [1, 2", "camera.yaml is no camera"),
        ("intrinsics.txt", "fx=20", "intrinsics.txt is no camera"),
        ("calibration.txt", f"{FX} {FY} 16 12 0.1 0 0 0 0", "its 9 numbers are no intrinsics"),
        ("camera.json", json.dumps({"a": FLAT, "b": FLAT | {"fx": 30.0}}), "holds 2 different cameras"),
        ("camera.json", json.dumps(NUMBERS | {"cx": 160.0, "cy": 120.0}), "Add w and h"),
    ],
)
def test_what_is_no_camera_is_named(name: str, text: str, says: str, tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "mine", count=2)
    (folder / "camera.json").unlink()
    (folder / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_depth_stream(folder)
    assert says in caught.value.message


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    folder = write_replica(tmp_path / "mine", count=2)
    (folder / "results.json").write_text("{")
    (folder / "a_mesh_config.yaml").write_text("resolution: 3")
    (folder / "notes.txt").write_text("none")
    found = find_camera(folder)
    assert found is not None and found[0].name == "cam_params.json"
    (folder / "camera_2.json").write_text(json.dumps(FLAT))
    with pytest.raises(InputError, match="hold different cameras. Choose one with --camera-file"):
        read_depth_stream(folder)
    (folder / "camera_2.json").write_text((folder / "cam_params.json").read_text())
    assert len(read_depth_stream(folder)) == 2


def test_the_camera_of_depth_goes_before_that_of_colour(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"color_camera": FLAT | {"fx": 99.0}, "depth_camera": FLAT}))
    assert read_camera(path) == Camera((WIDTH, HEIGHT), (FX, FY, CX, CY), None)


@pytest.mark.parametrize(("value", "metres"), [(5000, 0.0002), (1000.0, 0.001), (0.001, 0.001), (1, 1.0)])
def test_scales_are_units_per_metre_or_metres_per_unit(value: float, metres: float, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(FLAT | {"depth_scale": value}))
    assert read_camera(tmp_path / "c.json").scale == pytest.approx(metres)


def test_the_camera_of_the_benchmark_is_not_taken_for_others(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "my_desk", count=1)
    (folder / "camera.json").unlink()
    with pytest.raises(InputError, match="cannot be of the TUM benchmark: its depth images have 32x24 pixels"):
        read_depth_stream(folder)
    shutil.copytree(folder, tmp_path / "rgbd_dataset_freiburg2_xyz")
    with pytest.warns(UserWarning, match="that of the TUM benchmark is assumed"):
        read_depth_stream(tmp_path / "rgbd_dataset_freiburg2_xyz")
