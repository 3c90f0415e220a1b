"""Scenes, commands and flags that the tests share."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

PROJECT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def look_at_origin(azimuth: float, elevation: float, radius: float) -> np.ndarray:
    """A Blender camera-to-world pose (4x4) that looks at the origin, z up; angles in radians."""
    position = radius * np.array(
        [math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)]
    )
    back = position / np.linalg.norm(position)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, position], axis=1)
    return pose


def sphere_image(pose: np.ndarray, size: int, angle: float, radius: float = 0.8) -> np.ndarray:
    """A red-to-blue sphere at the origin seen from a pose: RGBA uint8, shape (size, size, 4)."""
    focal = 0.5 * size / math.tan(0.5 * angle)
    v, u = np.mgrid[0:size, 0:size] + 0.5
    rays = np.stack([(u - size / 2) / focal, -(v - size / 2) / focal, -np.ones_like(u)], axis=-1) @ pose[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    along = -(rays @ pose[:3, 3])
    discriminant = along**2 - (pose[:3, 3] @ pose[:3, 3] - radius**2)
    hit = discriminant > 0
    height = (pose[:3, 3] + rays * (along - np.sqrt(discriminant.clip(0)))[..., None])[..., 2]
    blue = np.clip(0.5 + height / (2 * radius), 0, 1)
    image = np.stack([1 - blue, np.full_like(blue, 0.3), blue, hit.astype(float)], axis=-1)
    return (np.where(hit[..., None], image, 0) * 255).round().astype(np.uint8)


def write_sphere_scene(folder: Path, size: int = 24, train: int = 12, test: int = 2) -> Path:
    """A Blender-synthetic scene of a sphere."""
    angle = 0.7
    for split, count in (("train", train), ("val", 1), ("test", test)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        frames = []
        for index in range(count):
            azimuth = 2 * math.pi * (index + 0.3 * len(split)) / max(count, 3)
            pose = look_at_origin(azimuth, 0.2 + 0.5 * (index % 3) / 2, 4.0)
            Image.fromarray(sphere_image(pose, size, angle)).save(folder / split / f"r_{index}.png")
            frames.append({"file_path": f"./{split}/r_{index}", "transform_matrix": pose.tolist()})
        text = json.dumps({"camera_angle_x": angle, "frames": frames})
        (folder / f"transforms_{split}.json").write_text(text)
    return folder


def write_capture_scene(folder: Path, size: int = 24, count: int = 12) -> Path:
    """The same sphere as a transforms.json capture (nerfstudio-data) of RGB photos on white."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    angle = 0.7
    frames = []
    for index in range(count):
        pose = look_at_origin(2 * math.pi * index / count, 0.2 + 0.3 * (index % 3), 4.0)
        rgba = Image.fromarray(sphere_image(pose, size, angle))
        photo = Image.new("RGB", rgba.size, "white")
        photo.paste(rgba, mask=rgba.getchannel("A"))
        photo.save(folder / "images" / f"frame_{index:05d}.png")
        frames.append({"file_path": f"images/frame_{index:05d}.png", "transform_matrix": pose.tolist()})
    focal = 0.5 * size / math.tan(0.5 * angle)
    camera = {"fl_x": focal, "fl_y": focal, "cx": size / 2, "cy": size / 2, "w": size, "h": size}
    (folder / "transforms.json").write_text(json.dumps(camera | {"camera_model": "OPENCV", "frames": frames}))
    return folder


def write_colmap_scene(folder: Path, size: int = 24, count: int = 9) -> Path:
    """The same sphere on white as photos with a COLMAP text model: one OPENCV camera, two points."""
    model = folder / "colmap" / "sparse" / "0"
    model.mkdir(parents=True)
    (folder / "images").mkdir()
    angle = 0.7
    focal = 0.5 * size / math.tan(0.5 * angle)
    lines = []
    for index in range(count):
        pose = look_at_origin(2 * math.pi * index / count, 0.2 + 0.3 * (index % 3), 4.0)
        rgba = Image.fromarray(sphere_image(pose, size, angle))
        photo = Image.new("RGB", rgba.size, "white")
        photo.paste(rgba, mask=rgba.getchannel("A"))
        photo.save(folder / "images" / f"photo_{index}.png")
        camera_from_world = np.linalg.inv(pose @ np.diag([1.0, -1.0, -1.0, 1.0]))  # OpenCV: y down, z forward
        x, y, z, w = Rotation.from_matrix(camera_from_world[:3, :3]).as_quat()
        numbers = " ".join(map(repr, map(float, (w, x, y, z, *camera_from_world[:3, 3]))))
        lines += [f"{index + 1} {numbers} 1 photo_{index}.png", ""]
    camera = f"1 OPENCV {size} {size} {focal} {focal} {size / 2} {size / 2} 0.01 -0.002 0.0005 -0.0003"
    (model / "cameras.txt").write_text(f"# Camera list\n{camera}\n")
    (model / "images.txt").write_text("# Image list\n" + "\n".join(lines) + "\n")
    (model / "points3D.txt").write_text("1 0.0 0.0 0.8 200 60 50 0.5\n2 0.8 0.0 0.0 120 60 120 0.5\n")
    return folder


def command(name: str, *arguments: object, timeout: float = 300, **options) -> subprocess.CompletedProcess[str]:
    """Runs one of the environment's commands to its end, output captured."""
    return subprocess.run(
        [str(BIN / name), *map(str, arguments)], capture_output=True, text=True, timeout=timeout, **options
    )


def here(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The same inside this process, which has torch and nerfstudio imported already; not for ns-train, whose parser
    hands out objects of the registry."""
    (entry,) = (entry for entry in entry_points(group="console_scripts") if entry.name == name)
    words = [name, *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", words),
        torch.random.fork_rng(devices=[]),
    ):
        try:
            entry.load()()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            if isinstance(ended.code, str):
                print(ended, file=err)
        except Exception:
            sys.excepthook(*sys.exc_info())
            status = 1
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


TRAIN_FLAGS = ("--vis", "tensorboard", "--viewer.quit-on-train-completion", "True")
"""Flags of a training that ends by itself and opens no port."""


def typed(method: str, data: Path, output: Path, *flags: object):
    """The configuration that ns-train makes of flags, as a user types them, of a run `output/.../run`."""
    import tyro
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion

    words = (method, "--data", data, "--output-dir", output, "--timestamp", "run", *TRAIN_FLAGS, *flags)
    config = tyro.cli(AnnotatedBaseConfigUnion, args=[str(word) for word in words])
    return copy.deepcopy(config)  # the parser hands out the objects of the registry
