"""An empty box room seen by a moving camera, written in every layout that depth streams are read from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

LOW, HIGH = np.array([-2.0, -1.5, 0.0]), np.array([2.5, 2.0, 2.4])
"""Corners of the room, metres."""
WIDTH, HEIGHT, FX, FY, CX, CY = 32, 24, 26.0, 27.0, 15.5, 12.5
"""The camera; the middle of the first pixel is at (0.5, 0.5)."""
FPS = 30.0
TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


def poses(count: int) -> np.ndarray:
    """(count, 4, 4) OpenGL camera-to-world: walking round the middle of the room, looking outward, a little rolled."""
    turns = 0.15 * np.arange(count) + 0.07
    result = np.tile(np.eye(4), (count, 1, 1))
    for pose, turn in zip(result, turns):
        forward = np.array([np.cos(turn), np.sin(turn), -0.2 + 0.1 * np.sin(3 * turn)])
        pose[:3, 2] = -forward / np.linalg.norm(forward)
        right = np.cross(forward, [0.1, 0.0, 1.0])
        pose[:3, 0] = right / np.linalg.norm(right)
        pose[:3, 1] = np.cross(pose[:3, 2], pose[:3, 0])
        pose[:3, 3] = 0.9 * np.cos(turn) + 0.2, 0.7 * np.sin(turn), 1.2 + 0.3 * np.sin(turn)
    return result


def directions(pose: np.ndarray) -> np.ndarray:
    """(height, width, 3) world directions of the pixels, of depth 1."""
    column, row = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    local = np.stack([(column - CX) / FX, -(row - CY) / FY, -np.ones_like(row)], axis=-1)
    return local @ pose[:3, :3].T


def depth_image(pose: np.ndarray) -> np.ndarray:
    """(height, width) z-depth of the walls, metres, rounded to millimetres."""
    rays = directions(pose)
    walls = np.where(rays > 0, HIGH, LOW)
    return np.round(((walls - pose[:3, 3]) / rays).min(axis=-1), 3)


def world_points(pose: np.ndarray) -> np.ndarray:
    """(height * width, 3) where the rounded depths of a pose are, row by row."""
    return (pose[:3, 3] + directions(pose) * depth_image(pose)[..., None]).reshape(-1, 3)


def write_depth(path: Path, depth: np.ndarray, units_a_metre: float) -> None:
    """In the format of the path's ending: whole numbers for PNG, float32 metres for all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, depth.astype(np.float32))
    elif path.suffix == ".png":
        Image.fromarray(np.round(depth * units_a_metre).astype(np.uint16)).save(path)
    else:
        import os

        import cv2

        os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")
        assert cv2.imwrite(str(path), depth.astype(np.float32))


def write_color(path: Path, index: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10 * index, 20, 30)).save(path)


def write_transforms(folder: Path, count: int = 8, suffix: str = ".png", color: bool = True) -> Path:
    """nerfstudio's layout; PNG in millimetres."""
    frames = []
    for index, pose in enumerate(poses(count)):
        frame = {"depth_file_path": f"depth/{index:04d}{suffix}", "timestamp": index / FPS}
        write_depth(folder / frame["depth_file_path"], depth_image(pose), 1000.0)
        if color:
            frame["file_path"] = f"images/{index:04d}.png"
            write_color(folder / frame["file_path"], index)
        frames.append(frame | {"transform_matrix": pose.tolist()})
    camera = {"w": WIDTH, "h": HEIGHT, "fl_x": FX, "fl_y": FY, "cx": CX, "cy": CY}
    (folder / "transforms.json").write_text(json.dumps({"camera_model": "PINHOLE"} | camera | {"frames": frames}))
    return folder


def write_replica(folder: Path, count: int = 8, units_a_metre: float = 2000.0) -> Path:
    """ReplicaCAD's layout, OpenCV axes and pixels."""
    rows = []
    for index, pose in enumerate(poses(count)):
        write_depth(folder / f"results/depth{index:06d}.png", depth_image(pose), units_a_metre)
        write_color(folder / f"results/frame{index:06d}.jpg", index)
        rows.append(" ".join(map(repr, (pose @ TO_OPENCV).ravel().tolist())))
    (folder / "traj.txt").write_text("\n".join(rows) + "\n")
    camera = {"w": WIDTH, "h": HEIGHT, "fx": FX, "fy": FY, "cx": CX - 0.5, "cy": CY - 0.5, "scale": units_a_metre}
    (folder / "cam_params.json").write_text(json.dumps({"camera": camera}))
    return folder


def write_tum(folder: Path, count: int = 8, start: float = 1305031102.0, lag: float = 0.004) -> Path:
    """TUM's layout; poses come `lag` seconds after their images, with others 10 ms from them that are far off."""
    depths, colors, trajectory = ["# depth maps"], ["# color images"], ["# timestamp tx ty tz qx qy qz qw"]
    for index, pose in enumerate(poses(count)):
        time = start + index / FPS
        write_depth(folder / f"depth/{time:.6f}.png", depth_image(pose), 5000.0)
        write_color(folder / f"rgb/{time:.6f}.png", index)
        depths.append(f"{time:.6f} depth/{time:.6f}.png")
        colors.append(f"{time + 0.001:.6f} rgb/{time:.6f}.png")
        quaternion = Rotation.from_matrix((pose @ TO_OPENCV)[:3, :3]).as_quat()  # x, y, z, w
        wrong = [9.0, 9.0, 9.0, 0.0, 0.0, 0.0, 1.0]
        for at, values in ((lag, [*pose[:3, 3], *quaternion]), (lag + 0.01, wrong)):
            trajectory.append(" ".join([f"{time + at:.6f}", *(f"{value:.9f}" for value in values)]))
    for name, lines in (("depth", depths), ("rgb", colors), ("groundtruth", trajectory)):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    camera = {"w": WIDTH, "h": HEIGHT, "fx": FX, "fy": FY, "cx": CX - 0.5, "cy": CY - 0.5}
    (folder / "camera.json").write_text(json.dumps(camera))
    return folder
