"""Rays through distorting lenses, against OpenCV; pixels outside of the image circle."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image
from support.helpers import look_at_origin

from eugen_fields.data.lens import image_circle, seen_pixels
from eugen_fields.training.data_manager import FieldDataManager, FieldDataManagerConfig

WIDTH, HEIGHT = 81, 61  # odd: the middle of the image is the middle of a pixel


def manager_of(folder: Path, camera: dict, focal: float, centre: tuple[float, float]) -> FieldDataManager:
    """The data manager of a capture of two grey photos with one camera."""
    frames = []
    for index in range(2):
        Image.new("RGB", (WIDTH, HEIGHT), "grey").save(folder / f"{index}.png")
        pose = look_at_origin(1.0 + index, 0.3, 4.0)
        frames.append({"file_path": f"{index}.png", "transform_matrix": pose.tolist()})
    intrinsics = {"fl_x": focal, "fl_y": 1.1 * focal, "cx": centre[0], "cy": centre[1], "w": WIDTH, "h": HEIGHT}
    (folder / "transforms.json").write_text(json.dumps(intrinsics | camera | {"frames": frames}))
    parser = NerfstudioDataParserConfig(data=folder, eval_mode="all", orientation_method="none", center_method="none")
    config = FieldDataManagerConfig(dataparser=parser, images_on_gpu=True, train_num_rays_per_batch=20_000)
    return config.setup(device="cpu", test_mode="val")


def undistorted(camera: dict, focal: float, centre: tuple[float, float], pixels: np.ndarray) -> np.ndarray:
    """OpenCV's directions (N, 3) of pixels (N, 2), column and row, in nerfstudio's camera frame: y up, z back."""
    matrix = np.array([[focal, 0, centre[0]], [0, 1.1 * focal, centre[1]], [0, 0, 1.0]])
    points = (pixels + 0.5).reshape(-1, 1, 2)  # nerfstudio's principal points count from the image's corner
    names = ("k1", "k2", "k3", "k4") if camera["camera_model"] == "OPENCV_FISHEYE" else ("k1", "k2", "p1", "p2", "k3")
    coefficients = np.array([camera.get(name, 0.0) for name in names])
    enough = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-12)
    if camera["camera_model"] == "OPENCV_FISHEYE":
        plane = cv2.fisheye.undistortPoints(points, matrix, coefficients, criteria=enough)
    else:
        plane = cv2.undistortPointsIter(points, matrix, coefficients, None, None, enough)
    directions = np.concatenate([plane[:, 0] * [1.0, -1.0], -np.ones((len(points), 1))], axis=1)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


@pytest.mark.parametrize("centre", [(WIDTH / 2, HEIGHT / 2), (42.3, 29.1)])
@pytest.mark.parametrize(
    ("camera", "focal"),
    [
        ({"camera_model": "OPENCV", "k1": 0.05, "k2": -0.1, "p1": 1e-3, "p2": -5e-4}, 64.0),
        ({"camera_model": "OPENCV", "k1": -0.28, "k2": 0.09, "k3": -0.012, "p1": 1e-4, "p2": 3e-4}, 64.0),
        ({"camera_model": "OPENCV", "k1": 0.3, "k2": 0.5}, 64.0),
        ({"camera_model": "OPENCV_FISHEYE", "k1": -0.02, "k2": 0.005, "k3": -0.003, "k4": 0.0004}, 40.0),
        ({"camera_model": "OPENCV_FISHEYE", "k1": 0.04, "k2": -0.01, "k3": 0.004, "k4": -0.001}, 38.0),
        ({"camera_model": "OPENCV_FISHEYE"}, 40.0),
    ],
)
def test_rays_agree_with_opencv_all_over_the_image(
    tmp_path: Path, camera: dict, focal: float, centre: tuple[float, float]
) -> None:
    torch.manual_seed(0)
    manager = manager_of(tmp_path, camera, focal, centre)
    rays, batch = manager.next_train(0)
    index, row, column = batch["indices"].unbind(-1)
    assert len(torch.unique(row * WIDTH + column)) > 0.95 * WIDTH * HEIGHT
    expected = undistorted(camera, focal, centre, torch.stack([column, row], dim=-1).double().numpy())
    poses = manager.train_dataset.cameras.camera_to_worlds[index].double().numpy()
    expected = np.einsum("nij,nj->ni", poses[:, :, :3], expected)
    assert rays.directions.isfinite().all()
    assert np.abs(rays.directions.numpy() - expected).max() < 1e-4
    whole = manager.train_dataset.cameras.generate_rays(0, keep_shape=True).directions
    assert whole.isfinite().all(), "evaluation sees every pixel"


def camera_of(kind: CameraType, focal: float, distortion: list[float], metadata: dict | None = None) -> Cameras:
    return Cameras(
        torch.eye(4)[None, :3], focal, focal, 40.0, 30.0, width=80, height=60, camera_type=kind, metadata=metadata,
        distortion_params=torch.tensor([distortion]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "focal", "distortion"),
    [
        (CameraType.PERSPECTIVE, 40.0, [-0.32, 0.12, -0.02, 0.0, 0.0, 0.0]),
        (CameraType.PERSPECTIVE, 64.0, [-0.28, 0.09, -0.012, 0.0, 1e-4, 3e-4]),
        (CameraType.FISHEYE, 22.0, [-0.1, 0.0, 0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_the_ray_of_every_seen_pixel_meets_that_pixel(kind: CameraType, focal: float, distortion: list[float]) -> None:
    cameras = camera_of(kind, focal, distortion)
    seen = seen_pixels(cameras, 0)
    directions = cameras.generate_rays(0, keep_shape=True).directions.double()
    across = directions[..., :2].norm(dim=-1)
    ratio = torch.atan2(across, -directions[..., 2]) if kind is CameraType.FISHEYE else across / -directions[..., 2]
    k1, k2, k3, k4, p1, p2 = distortion
    x, y = (directions[..., 0] / across * ratio, -directions[..., 1] / across * ratio)
    square = ratio**2
    factor = 1 + square * (k1 + square * (k2 + square * (k3 + square * k4)))
    column = focal * (x * factor + 2 * p1 * x * y + p2 * (square + 2 * x * x)) + 40.0
    row = focal * (y * factor + 2 * p2 * x * y + p1 * (square + 2 * y * y)) + 30.0
    missed = torch.hypot(column - torch.arange(80) - 0.5, row - torch.arange(60)[:, None] - 0.5)
    assert missed[torch.ones(60, 80, dtype=torch.bool) if seen is None else seen[..., 0]].max() < 1e-3
    assert (seen is None) == (focal == 64.0), "only lenses whose circle ends within the image lose pixels"


def test_lenses_that_do_not_bend_back_see_everything() -> None:
    assert image_circle(torch.tensor([0.1, 0.05, 0.0, 0.0, 0.0, 0.0]), fisheye=False) == float("inf")
    assert image_circle(torch.zeros(6), fisheye=True) == pytest.approx(torch.pi)


def test_pixels_beyond_the_crop_radius_are_not_seen() -> None:
    seen = seen_pixels(camera_of(CameraType.FISHEYE, 40.0, [0.0] * 6, {"fisheye_crop_radius": 20.0}), 0)
    assert seen is not None and int(seen.sum()) == pytest.approx(torch.pi * 400, rel=0.01)
