"""Three layouts of posed depth recordings on disk, read into one list of frames.

- transforms.json with a depth_file_path in its frames, as nerfstudio has it: OpenGL camera axes (x right, y up, looking
  along -z), the middle of the first pixel at (0.5, 0.5).
- ReplicaCAD sequences of iSDF (Ortiz et al. 2022) and Replica ones of the same form: traj.txt beside results/. OpenCV
  camera axes (x right, y down, looking along +z), the middle of the first pixel at (0, 0).
- TUM RGB-D sequences (Sturm et al. 2012): rgb.txt, depth.txt and groundtruth.txt. OpenCV axes and pixels as well.

Frames come out with OpenGL axes and pixels as nerfstudio counts them. The world is that of the files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nerfstudio.cameras.cameras import CameraType

from eugen_fields.data.cameras.intrinsics import read_cameras
from eugen_fields.data.depth.depth_camera_choice import benchmark_camera, camera_of, image_size
from eugen_fields.data.depth.depth_cameras import CAMERA_KEYS, is_number, is_positive
from eugen_fields.data.depth.depth_images import SUFFIXES
from eugen_fields.data.scenes.names import FileFinder
from eugen_fields.data.scenes.text import read_text
from eugen_fields.data.transforms import find_files, read_frames
from eugen_fields.errors import InputError

TUM_UNITS_PER_METRE = 5000.0
MAX_TIME_DIFFERENCE = 0.02
"""Longest time between a depth image and its pose or colour image, seconds."""
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""From OpenCV camera axes to OpenGL ones, and back."""


@dataclass(frozen=True)
class RecordedFrame:
    """One frame as its files give it."""

    depth_path: Path | None
    color_path: Path | None
    pose: np.ndarray | None
    """(4, 4) camera-to-world, in the layout's axes; whatever the file holds, or None where it has none."""
    timestamp: float | None
    """Seconds, where the layout has them."""
    intrinsics: tuple[float, float, float, float]
    """fx, fy, cx, cy, pixels of the camera's size."""


@dataclass(frozen=True)
class Recording:
    """The frames of a recording in the order of its files."""

    source: Path
    """What lists the frames, for messages."""
    frames: list[RecordedFrame]
    width: int
    height: int
    scale: float | None
    """Metres per unit of the depth images, where the layout says."""
    axes: str
    """Axes of the cameras: opengl or opencv."""


def read_recording(data: Path, camera_file: Path | None = None, noisy_depth: bool = False) -> Recording:
    """The recording in a folder, whichever of the layouts it has.

    Args:
        data: the folder, or its transforms file.
        camera_file: JSON with w, h, fx, fy, cx, cy and scale (units per metre), for folders with traj.txt or TUM's
            lists.
        noisy_depth: of a folder with traj.txt, results/ndepth* in place of results/depth*.

    Raises:
        InputError: naming the file, what was found and what would do.
    """
    if not data.exists():
        raise InputError(f"the depth stream {data} does not exist. Give its folder with --data.")
    transforms = data if data.suffix == ".json" else data / "transforms.json"
    if transforms.is_file():
        if camera_file is not None:
            raise InputError(f"--camera-file {camera_file} is not for {transforms}, which has its own intrinsics.")
        kind = "transforms"
    elif (data / "traj.txt").is_file():
        kind = "replica"
    elif (data / "groundtruth.txt").is_file() and (data / "depth.txt").is_file():
        kind = "tum"
    else:
        hint = ""
        if (data / "transforms_train.json").is_file():
            hint = " There is a transforms_train.json, of photos: put `blender-data` at the end of the command."
        raise InputError(
            f"{data} is no posed depth stream: it has neither a transforms.json, nor traj.txt (with results/depth*), "
            f"nor depth.txt and groundtruth.txt (TUM).{hint}"
        )
    if noisy_depth and kind != "replica":
        raise InputError(f"--noisy-depth True is for folders with traj.txt and results/ndepth*; {data} has none.")
    if kind == "transforms":
        return _read_transforms(transforms)
    return _read_replica(data, camera_file, noisy_depth) if kind == "replica" else _read_tum(data, camera_file)


def _read_transforms(path: Path) -> Recording:
    content = read_frames(path)
    frames = content["frames"]
    if not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f'{path}: "frames" must be a list of objects, one for each image.')
    if not any(frame.get("depth_file_path") for frame in frames):
        raise InputError(
            f'{path}: no frame has a "depth_file_path". For photos without depth put `nerfstudio-data` at the end of '
            "the command."
        )
    named = [{"file_path": frame.get("depth_file_path")} | frame for frame in frames]
    lenses = read_cameras(path, content | {"frames": named}, angles=False)
    scale = content.get("depth_unit_scale_factor")
    if scale is not None and not is_positive(scale):
        raise InputError(f'{path}: "depth_unit_scale_factor" is {scale!r}; it must be above 0, metres per unit.')
    sizes = sorted({(lens.width, lens.height) for lens in lenses})
    if len(sizes) > 1:
        raise InputError(f"{path}: frames of several sizes ({sizes[0]} and {sizes[1]}). A stream has one.")
    for index, lens in enumerate(lenses):
        if lens.kind is not CameraType.PERSPECTIVE or any(lens.distortion):
            raise InputError(f"{path}, frame {index}: its lens distorts. Undistort the depth images first.")
    timed = [frame.get("timestamp") is not None for frame in frames]
    if any(timed) and not all(timed):
        raise InputError(f'{path}, frame {timed.index(False)}: no "timestamp", which other frames have.')
    for index, frame in enumerate(frames):
        if timed[index] and not is_number(frame["timestamp"]):
            raise InputError(f'{path}, frame {index}: "timestamp" is {frame["timestamp"]!r}; it must be seconds.')
    depths = find_files(path, content, FileFinder(path.parent, endings=SUFFIXES), "depth_file_path")
    colors = find_files(path, content, FileFinder(path.parent))
    recorded = [
        RecordedFrame(
            depth_path=depth,
            color_path=color,
            pose=_matrix(frame.get("transform_matrix")),
            timestamp=float(frame["timestamp"]) if timed[0] else None,
            intrinsics=(lens.fx, lens.fy, lens.cx, lens.cy),
        )
        for frame, lens, depth, color in zip(frames, lenses, depths, colors)
    ]
    return Recording(path, recorded, *sizes[0], scale=None if scale is None else float(scale), axes="opengl")


def _read_replica(data: Path, camera_file: Path | None, noisy_depth: bool) -> Recording:
    path, results = data / "traj.txt", data / "results"
    rows = _read_table(path, 16, "the 16 numbers of a 4x4 camera-to-world matrix, row by row")
    prefix = "ndepth" if noisy_depth else "depth"
    depths = _numbered(results, prefix, SUFFIXES)
    if not depths:
        raise InputError(f"{results} has no {prefix}*.png; {path} goes with depth images there.")
    colors = _numbered(results, "frame", (".jpg", ".jpeg", ".png"))
    camera = camera_of([data, data.parent], camera_file)
    if camera is None:
        raise InputError(
            f"no camera of {data}: put a JSON file with {', '.join(CAMERA_KEYS)} and scale (units per metre) there, "
            "or name one with --camera-file."
        )
    (width, height), scale = camera.size or image_size(depths.values(), camera), camera.scale
    digits = len(re.sub(r"\D", "", next(iter(depths.values())).stem))
    frames = [
        RecordedFrame(
            depth_path=depths.get(number, results / f"{prefix}{number:0{digits}}.png"),
            color_path=colors.get(number),
            pose=rows[number].reshape(4, 4) if number < len(rows) else None,
            timestamp=None,
            intrinsics=camera.intrinsics,
        )
        for number in range(max(len(rows), max(depths) + 1))
    ]
    return Recording(path, frames, width, height, scale, "opencv")


def _read_tum(data: Path, camera_file: Path | None) -> Recording:
    path = data / "groundtruth.txt"
    trajectory = _read_table(path, 8, "timestamp tx ty tz qx qy qz qw")
    trajectory = trajectory[np.argsort(trajectory[:, 0], kind="stable")]
    depths = _read_list(data / "depth.txt")
    colors = _read_list(data / "rgb.txt") if (data / "rgb.txt").is_file() else []
    camera = camera_of([data], camera_file) or benchmark_camera(data, [depth for _, depth in depths])
    (width, height), scale = camera.size or image_size([depth for _, depth in depths], camera), camera.scale
    times = np.array([time for time, _ in depths])
    poses = _nearest(times, trajectory[:, 0])
    shades = _nearest(times, np.array([time for time, _ in colors]))
    frames = [
        RecordedFrame(
            depth_path=depth,
            color_path=None if shade is None else colors[shade][1],
            pose=None if pose is None else _from_quaternion(trajectory[pose, 1:4], trajectory[pose, 4:]),
            timestamp=time,
            intrinsics=camera.intrinsics,
        )
        for (time, depth), pose, shade in zip(depths, poses, shades)
    ]
    return Recording(data / "depth.txt", frames, width, height, scale or 1 / TUM_UNITS_PER_METRE, "opencv")


def _matrix(value: Any) -> np.ndarray | None:
    """(4, 4) of a nested list of 4x4 or 3x4 numbers, NaN allowed; None for anything else."""
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if matrix.shape == (3, 4):
        return np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
    return matrix if matrix.shape == (4, 4) else None


def _from_quaternion(position: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """(4, 4) pose of a position and a quaternion x, y, z, w, up to rounding of unit length; NaN if it is not."""
    pose = np.eye(4)
    length = np.linalg.norm(quaternion)
    if not abs(length - 1) < 0.01:  # NaN included
        pose[:3] = np.nan
        return pose
    x, y, z, w = quaternion / length
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = position
    return pose


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The words of the lines that are neither empty nor comments, with the lines' numbers."""
    words = [(number, line.replace(",", " ").split()) for number, line in enumerate(read_text(path).splitlines(), 1)]
    kept = [(number, line) for number, line in words if line and not line[0].startswith("#")]
    if not kept:
        raise InputError(f"{path} lists nothing.")
    return kept


def _read_table(path: Path, columns: int, wanted: str) -> np.ndarray:
    """(rows, columns) numbers, NaN and infinity included."""
    rows = []
    for number, words in _lines(path):
        try:
            rows.append([float(word) for word in words])
        except ValueError:
            rows.append([])
        if len(rows[-1]) != columns:
            raise InputError(f"{path}, line {number}: each line must hold {wanted}.")
    return np.array(rows)


def _read_list(path: Path) -> list[tuple[float, Path]]:
    """Timestamps and files of one of TUM's lists."""
    entries, finder = [], FileFinder(path.parent)
    for number, words in _lines(path):
        if len(words) != 2 or not is_number(words[0]):
            raise InputError(f"{path}, line {number}: each line must hold a timestamp and a file name.")
        entries.append((float(words[0]), finder.find(words[1]) or path.parent / words[1]))
    return entries


def _numbered(folder: Path, prefix: str, suffixes: tuple[str, ...]) -> dict[int, Path]:
    """The files called PREFIX and a number, by that number."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)")
    matches = [(pattern.fullmatch(path.stem), path) for path in sorted(folder.glob(f"{prefix}*"))]
    return {int(match[1]): path for match, path in matches if match and path.suffix.lower() in suffixes}


def _nearest(times: np.ndarray, others: np.ndarray) -> list[int | None]:
    """For each time the index of the nearest of the others, or None if it is more than MAX_TIME_DIFFERENCE away."""
    if not len(others):
        return [None] * len(times)
    order = np.argsort(others, kind="stable")
    after = np.searchsorted(others[order], times).clip(1, max(len(others) - 1, 1))
    candidates = np.stack([order[after - 1], order[np.minimum(after, len(others) - 1)]])
    away = np.abs(others[candidates] - times)
    best = candidates[away.argmin(axis=0), np.arange(len(times))]
    return [int(index) if gap <= MAX_TIME_DIFFERENCE else None for index, gap in zip(best, away.min(axis=0))]
