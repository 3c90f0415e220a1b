"""Every camera model of COLMAP: rays that its own formulas lead back to the pixels, or a refusal that names the model;
text and binary files give the same."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from support.captures import read
from support.helpers import look_at_origin, write_colmap_scene

from eugen_fields.data.checks import check_scene
from eugen_fields.data.parsers.colmap_model import read_scene_model
from eugen_fields.errors import InputError

MODEL = Path("colmap") / "sparse" / "0"
MODELS = {
    "SIMPLE_PINHOLE": (0, [33.0, 11.3, 12.6]),
    "PINHOLE": (1, [33.0, 35.0, 11.3, 12.6]),
    "SIMPLE_RADIAL": (2, [33.0, 11.3, 12.6, 0.1]),
    "RADIAL": (3, [33.0, 11.3, 12.6, 0.1, -0.05]),
    "OPENCV": (4, [33.0, 35.0, 11.3, 12.6, 0.1, -0.05, 0.002, -0.003]),
    "OPENCV_FISHEYE": (5, [18.0, 19.0, 11.3, 12.6, -0.02, 0.004, -0.001, 0.0005]),
    "FULL_OPENCV": (6, [33.0, 35.0, 11.3, 12.6, 0.1, -0.05, 0.002, -0.003, 0.02, 0.0, 0.0, 0.0]),
    "SIMPLE_RADIAL_FISHEYE": (8, [18.0, 11.3, 12.6, 0.03]),
    "RADIAL_FISHEYE": (9, [18.0, 11.3, 12.6, 0.03, -0.004]),
    "THIN_PRISM_FISHEYE": (10, [18.0, 19.0, 11.3, 12.6, 0.02, -0.004, 0.001, -0.002, 0.001, 0.0002, 0.0, 0.0]),
}
"""Parameters by model, with COLMAP's number of it."""
REFUSED = {
    "FOV": (7, [18.0, 19.0, 11.3, 12.6, 0.9], "FOV"),
    "FULL_OPENCV": (6, [33.0, 35.0, 11.3, 12.6, 0.1, 0.0, 0.0, 0.0, 0.02, 0.03, 0.0, 0.0], "k4' is 0.03"),
    "THIN_PRISM_FISHEYE": (10, [18.0, 19.0, 11.3, 12.6, *[0.0] * 6, 0.01, 0.0], "sx1 is 0.01"),
}


def set_camera(scene: Path, model: str, parameters: list[float]) -> None:
    (scene / MODEL / "cameras.txt").write_text(f"# Camera list\n1 {model} 24 24 {' '.join(map(repr, parameters))}\n")


def make_binary(scene: Path, number: int, parameters: list[float], remove: bool = True) -> None:
    """Writes the text model of a scene as a binary one."""
    model = scene / MODEL
    content = struct.pack("<QiiQQ", 1, 1, number, 24, 24) + struct.pack(f"<{len(parameters)}d", *parameters)
    (model / "cameras.bin").write_bytes(content)
    lines = [line.split(maxsplit=9) for line in (model / "images.txt").read_text().splitlines()[1::2]]
    content = struct.pack("<Q", len(lines))
    for image, *pose, camera_id, name in lines:
        content += struct.pack("<i7di", int(image), *map(float, pose), int(camera_id)) + name.encode() + b"\0"
        content += struct.pack("<Q2dq2dq", 2, 1.0, 2.0, -1, 3.0, 4.0, 5)  # points seen in the image
    (model / "images.bin").write_bytes(content)
    if remove:
        (model / "cameras.txt").unlink()
        (model / "images.txt").unlink()


def project(model: str, parameters: list[float], local: np.ndarray) -> np.ndarray:
    """COLMAP's formulas (sensor/models.h): pixels (N, 2) of points (N, 3), x right, y down, z forward."""
    simple = model.startswith(("SIMPLE", "RADIAL"))
    fx, fy, cx, cy, *rest = [parameters[0], *parameters] if simple else parameters
    u, v = local[:, 0] / local[:, 2], local[:, 1] / local[:, 2]
    if "FISHEYE" in model:
        radius = np.hypot(u, v)
        turned = np.arctan(radius) / np.maximum(radius, 1e-12)
        u, v = u * turned, v * turned
    k1, k2, p1, p2, k3, k4 = {
        "OPENCV_FISHEYE": lambda: (rest[0], rest[1], 0, 0, rest[2], rest[3]),
        "FULL_OPENCV": lambda: (*rest[:5], 0),
        "THIN_PRISM_FISHEYE": lambda: rest[:6],
    }.get(model, lambda: (*rest, *[0.0] * (6 - len(rest))))()
    square = u**2 + v**2
    radial = square * (k1 + square * (k2 + square * (k3 + square * k4)))
    x = u + u * radial + 2 * p1 * u * v + p2 * (square + 2 * u**2)
    y = v + v * radial + 2 * p2 * u * v + p1 * (square + 2 * v**2)
    return np.stack([fx * x + cx, fy * y + cy], axis=-1)


@pytest.mark.parametrize("form", ["text", "binary"])
@pytest.mark.parametrize("model", MODELS)
def test_rays_lead_back_to_their_pixels(model: str, form: str, tmp_path: Path) -> None:
    number, parameters = MODELS[model]
    scene = write_colmap_scene(tmp_path / "ball")
    set_camera(scene, model, parameters)
    if form == "binary":
        make_binary(scene, number, parameters)
    parser = ColmapDataParserConfig(data=scene, eval_mode="all", auto_scale_poses=False)
    check_scene(parser, scene)
    outputs = read(parser)
    directions = outputs.cameras.generate_rays(3, keep_shape=True).directions.reshape(-1, 3).double().numpy()
    local = directions @ outputs.cameras.camera_to_worlds[3, :, :3].double().numpy() * [1.0, -1.0, -1.0]
    rows, columns = np.mgrid[0:24, 0:24]
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 2) + 0.5
    assert np.abs(project(model, parameters, local) - pixels).max() < 1e-3
    back = outputs.transform_poses_to_original_space(outputs.cameras.camera_to_worlds, "opengl").numpy()
    truth = np.stack([look_at_origin(2 * np.pi * index / 9, 0.2 + 0.3 * (index % 3), 4.0)[:3] for index in range(9)])
    np.testing.assert_allclose(back, truth, atol=1e-5)


@pytest.mark.parametrize("form", ["text", "binary"])
@pytest.mark.parametrize("model", REFUSED)
def test_models_that_cannot_be_are_named(model: str, form: str, tmp_path: Path) -> None:
    number, parameters, says = REFUSED[model]
    scene = write_colmap_scene(tmp_path / "ball")
    set_camera(scene, model, parameters)
    if form == "binary":
        make_binary(scene, number, parameters)
    with pytest.raises(InputError) as caught:
        check_scene(ColmapDataParserConfig(), scene)
    assert f"has the model {model}" in caught.value.message and says in caught.value.message
    assert "OPENCV_FISHEYE" in caught.value.message, "what would do"


def test_models_newer_than_this_are_named(tmp_path: Path) -> None:
    scene = write_colmap_scene(tmp_path / "ball")
    make_binary(scene, 11, [1.0] * 16)
    with pytest.raises(InputError, match="cameras.bin: camera 1 has the model of number 11, which is not known here"):
        check_scene(ColmapDataParserConfig(), scene)


def test_perspective_and_fisheye_cameras_in_one_model_are_named(tmp_path: Path) -> None:
    scene = write_colmap_scene(tmp_path / "ball")
    path = scene / MODEL / "cameras.txt"
    path.write_text(path.read_text() + "2 OPENCV_FISHEYE 24 24 18 18 12 12 0 0 0 0\n")
    images = scene / MODEL / "images.txt"
    images.write_text(images.read_text().replace(" 1 photo_4", " 2 photo_4"))
    with pytest.raises(InputError, match="its cameras are of types FISHEYE and PERSPECTIVE"):
        check_scene(ColmapDataParserConfig(), scene)
    images.write_text(images.read_text().replace(" 2 photo_4", " 1 photo_4"))
    check_scene(ColmapDataParserConfig(), scene)  # a camera that no photo has does not matter


def test_a_text_and_a_binary_model_that_differ_are_named(tmp_path: Path) -> None:
    scene = write_colmap_scene(tmp_path / "ball")
    set_camera(scene, "OPENCV", MODELS["OPENCV"][1])
    make_binary(scene, 4, MODELS["OPENCV"][1], remove=False)
    check_scene(ColmapDataParserConfig(), scene)
    set_camera(scene, "OPENCV", [*MODELS["OPENCV"][1][:-1], 0.01])
    with pytest.raises(InputError, match="a binary and a text model that differ in cameras. Remove the .txt or"):
        check_scene(ColmapDataParserConfig(), scene)
    set_camera(scene, "OPENCV", MODELS["OPENCV"][1])
    images = scene / MODEL / "images.txt"
    images.write_text(images.read_text().replace("\n4 ", "\n4 0.1 0.2 0.3 0.4 ", 1).replace(" 1 photo_3", " 1 x", 1))
    with pytest.raises(InputError):
        check_scene(ColmapDataParserConfig(), scene)


@pytest.mark.parametrize("form", ["text", "binary", "no points", "windows"])
def test_names_with_blanks_and_in_folders(form: str, tmp_path: Path) -> None:
    scene = write_colmap_scene(tmp_path / "ball")
    (scene / "images" / "my cam").mkdir()
    for index in range(9):
        (scene / "images" / f"photo_{index}.png").rename(scene / "images" / "my cam" / f"photo {index}.png")
    path = scene / MODEL / "images.txt"
    text = path.read_text().replace("photo_", "my cam/photo ")
    if form == "no points":
        text = "\n".join(line for line in text.splitlines() if line)
    if form == "windows":
        text = "\ufeff" + text.replace("cam/", "cam\\").replace("\n", "\r\n")
    path.write_text(text, encoding="utf-8", newline="")
    if form == "binary":
        make_binary(scene, 4, [30.0, 30.0, 12.0, 12.0, 0.0, 0.0, 0.0, 0.0])
    check_scene(ColmapDataParserConfig(), scene)
    names = [image.name for image in read_scene_model(scene / MODEL).images]
    assert names == [f"my cam/photo {index}.png" for index in range(9)]


def test_quaternions_count_by_their_direction(tmp_path: Path) -> None:
    scene = write_colmap_scene(tmp_path / "ball")
    path = scene / MODEL / "images.txt"
    before = read_scene_model(scene / MODEL).images
    lines = path.read_text().splitlines()
    words = lines[1].split()
    words[1:5] = [repr(1.7 * float(word)) for word in words[1:5]]
    path.write_text("\n".join([lines[0], " ".join(words), *lines[2:]]) + "\n")
    np.testing.assert_allclose(read_scene_model(scene / MODEL).images[0].pose, before[0].pose, atol=1e-12)
    words[1:5] = ["0"] * 4
    path.write_text("\n".join([lines[0], " ".join(words), *lines[2:]]) + "\n")
    with pytest.raises(InputError, match="photo_0.png: the pose holds NaN or infinity, or a quaternion of zeros"):
        read_scene_model(scene / MODEL)


def test_points_of_the_model_are_in_the_scene(tmp_path: Path) -> None:
    scene = write_colmap_scene(tmp_path / "ball")
    outputs = read(ColmapDataParserConfig(data=scene, orientation_method="pca", center_method="focus"))
    world = torch.tensor([[0.0, 0.0, 0.8], [0.8, 0.0, 0.0]], dtype=torch.float64)
    transform = torch.from_numpy(outputs.placement.transform)
    expected = outputs.placement.scale * (world @ transform[:, :3].T + transform[:, 3])
    torch.testing.assert_close(outputs.metadata["points3D_xyz"].double(), expected, atol=1e-6, rtol=0)
