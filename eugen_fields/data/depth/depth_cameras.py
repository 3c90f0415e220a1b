"""Cameras of depth recordings whose layout has none of its own, from the files that other programs write.

Read are JSON and YAML, flat or nested, with focal lengths and principal point by name, as a list (Kalibr) or as a
matrix (Open3D, ROS, OpenCV), and text files of four numbers or of a matrix.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from eugen_fields.errors import InputError

TUM_INTRINSICS = {"freiburg3": (535.4, 539.2, 320.1, 247.6), "": (525.0, 525.0, 319.5, 239.5)}
"""fx, fy, cx, cy of the TUM sequences (640x480) by a part of their folder's name: the third camera's own, whose images
are undistorted; for the others the ROS defaults, which the benchmark recommends for its registered images."""
CAMERA_KEYS = ("w", "h", "fx", "fy", "cx", "cy")

_NAMES = {
    "w": ("w", "width", "image_width", "img_width", "camera_width"),
    "h": ("h", "height", "image_height", "img_height", "camera_height"),
    "fx": ("fx", "fl_x", "f_x", "focal_x", "focal_length_x"),
    "fy": ("fy", "fl_y", "f_y", "focal_y", "focal_length_y"),
    "cx": ("cx", "c_x", "ppx", "principal_point_x"),
    "cy": ("cy", "c_y", "ppy", "principal_point_y"),
}
"""Names of the numbers in files, in lower case, without "camera." before them."""
_MATRICES = ("intrinsic_matrix", "camera_matrix", "k", "intrinsic", "intrinsics", "camera_intrinsics", "cam_k")
_SIZES = ("resolution", "image_size", "img_size")
_DISTORTION = (
    *("distortion_coefficients", "distortion_coeffs", "dist_coeffs", "distortion", "d"),
    *("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2"),
)
_SCALES = ("scale", "depth_scale", "png_depth_scale", "depthmapfactor", "depth_map_factor", "depth_factor")
_LIKE_A_CAMERA = re.compile(r"cam|intrinsic|calib", re.IGNORECASE)
_TEXTS = re.compile(r"(camera|cam_params|intrinsic|calib|k\b).*", re.IGNORECASE)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera of a file."""

    size: tuple[int, int] | None
    """Width and height, pixels; None where the file has none."""
    intrinsics: tuple[float, float, float, float]
    """fx, fy, cx, cy as nerfstudio counts pixels: the middle of the first one is at (0.5, 0.5)."""
    scale: float | None
    """Metres per unit of depth, where the file says."""


def is_number(value: Any) -> bool:
    """Whether a value from a file is a finite number, or the text of one."""
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def is_positive(value: Any) -> bool:
    """Whether a value from a file is a finite number above 0, or the text of one."""
    return is_number(value) and float(value) > 0


def find_camera(folder: Path) -> tuple[Path, Camera] | None:
    """The camera in a folder, and its file; None where there is none.

    Raises:
        InputError: a file is called like a camera's and holds none, or files hold different ones.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".json", ".yaml", ".yml")]
    files += [path for path in sorted(folder.glob("*.txt")) if _TEXTS.fullmatch(path.stem)]
    found: list[tuple[Path, Camera]] = []
    for path in files:
        try:
            found.append((path, read_camera(path)))
        except InputError:
            if _LIKE_A_CAMERA.search(path.stem):
                raise
    for path, camera in found[1:]:
        if camera != found[0][1]:
            raise InputError(f"{found[0][0]} and {path} hold different cameras. Choose one with --camera-file.")
    return found[0] if found else None


def read_camera(path: Path) -> Camera:
    """The camera in a file.

    Raises:
        InputError: naming the file and what it lacks, or which number is out of range.
    """
    content = _load(path)
    if isinstance(content, np.ndarray):
        return _camera(path, {}, content)
    cameras = [(where, _camera(path, block, numbers)) for where, block, numbers in _blocks(content)]
    of_depth = [camera for where, camera in cameras if "depth" in where]
    chosen = of_depth or [camera for _, camera in cameras]
    if not chosen:
        names = sorted(str(name) for name in content) if isinstance(content, dict) else []
        holds = f"it has {', '.join(names[:8])}" if names else "it has no names at all"
        raise InputError(
            f"{path} is no camera: it must hold {', '.join(CAMERA_KEYS)}, or a 3x3 matrix of intrinsics "
            f"with width and height; {holds}."
        )
    if any(camera != chosen[0] for camera in chosen[1:]):
        raise InputError(f"{path} holds {len(chosen)} different cameras. Name a file with one by --camera-file.")
    return chosen[0]


def _load(path: Path) -> Any:
    """The content of a JSON or YAML file, or the numbers of a text file, shape (numbers,)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".txt":
            words = re.sub(r"[\[\],;]", " ", text).split()
            return np.array([float(word) for word in words])
        if path.suffix.lower() == ".json":
            return json.loads(text)
        # OpenCV's own first line, "%YAML:1.0", is no YAML
        return yaml.load(re.sub(r"\A%YAML.*\n", "", text), Loader=_Plain)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(
            f"{path} is no camera: {' '.join(str(error).split())}. Re-export it or fix the file."
        ) from None


class _Plain(yaml.SafeLoader):
    """Takes values of unknown tags, such as OpenCV's matrices, as what they are written as."""


def _untagged(loader: _Plain, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.ScalarNode)
    return loader.construct_scalar(node)


_Plain.add_multi_constructor("", _untagged)
_Plain.add_multi_constructor("!", _untagged)
_Plain.add_multi_constructor("tag:yaml.org,2002:opencv", _untagged)


def _blocks(content: Any, where: str = "", above: dict[str, Any] | None = None) -> Iterator[tuple]:
    """Every block of a file with focal lengths and principal point: its place, its names with those of the blocks
    around it, and fx, fy, cx, cy."""
    if not isinstance(content, dict):
        return
    own = {re.sub(r"^camera\d?\.", "", str(name).lower()): value for name, value in content.items()}
    block = (above or {}) | own
    numbers = _numbers(own)
    if numbers is not None:
        yield where, block, numbers
        return
    plain = {name: value for name, value in block.items() if not isinstance(value, dict)}
    for name, value in own.items():
        if isinstance(value, dict):
            yield from _blocks(value, f"{where}.{name}", plain)


def _numbers(block: dict[str, Any]) -> Any:
    """fx, fy, cx, cy in a block: by name (a list of four), or in a matrix (an array); None where they are not there."""
    named = [_first(block, _NAMES[key]) for key in CAMERA_KEYS[2:]]
    if all(value is not None for value in named):
        return named
    for name in _MATRICES:
        value = block.get(name)
        if isinstance(value, dict):
            value = value.get("data")
        if isinstance(value, list):
            try:
                return np.array(value, dtype=np.float64).ravel()
            except (TypeError, ValueError):
                return None
    return None


def _first(block: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((block[name] for name in names if name in block), None)


def _camera(path: Path, block: dict[str, Any], numbers: Any) -> Camera:
    if isinstance(numbers, np.ndarray):
        fx, fy, cx, cy = _of_matrix(path, numbers)
    else:
        for key, value in zip(CAMERA_KEYS[2:], numbers):
            if not (is_positive if key in ("fx", "fy") else is_number)(value):
                raise InputError(f'{path}: "{key}" is {value!r}; it must be a number of pixels.')
        fx, fy, cx, cy = map(float, numbers)
    if any(_is_set(block.get(name)) for name in _DISTORTION):
        raise InputError(f"{path}: its lens distorts. Undistort the depth images first, and set its distortion to 0.")
    size = _size(path, block)
    if size is not None and not (0 < cx < size[0] and 0 < cy < size[1]):
        raise InputError(
            f"{path}: the principal point ({cx:g}, {cy:g}) is outside the image of {size[0]}x{size[1]} pixels. The "
            "numbers are of images of another size."
        )
    from_corner = "fl_x" in block  # nerfstudio's names, and its way to count
    shift = 0.0 if from_corner else 0.5
    return Camera(size, (fx, fy, cx + shift, cy + shift), _scale(path, block))


def _of_matrix(path: Path, numbers: np.ndarray) -> tuple[float, ...]:
    """fx, fy, cx, cy of 4 numbers (more are of distortion), or of a 3x3 or 4x4 matrix by rows or, as Open3D has it, by
    columns."""
    side = {9: 3, 16: 4, 12: 4}.get(numbers.size)
    if 4 <= numbers.size <= 9 and not numbers[4:].any():
        found = numbers[:4]
    elif side is not None:
        matrix = numbers.reshape(-1, side)[:3, :3]
        matrix = matrix.T if matrix[0, 2] == 0 and matrix[2, 0] != 0 else matrix
        found = matrix[[0, 1, 0, 1], [0, 1, 2, 2]]
        if matrix[1, 0] or matrix[2, 0] or matrix[2, 1] or abs(matrix[2, 2] - 1) > 1e-6 or abs(matrix[0, 1]) > 1e-3:
            found = np.full(4, math.nan)
    else:
        found = np.full(4, math.nan)
    if not (np.isfinite(found).all() and (found[:2] > 0).all()):
        raise InputError(
            f"{path} is no camera: its {numbers.size} numbers are no intrinsics. It must hold fx, fy, cx, cy, or a 3x3 "
            "matrix with them, without distortion."
        )
    return tuple(map(float, found))


def _size(path: Path, block: dict[str, Any]) -> tuple[int, int] | None:
    pair = [_first(block, _NAMES[key]) for key in ("w", "h")]
    listed = _first(block, _SIZES)
    if pair == [None, None] and isinstance(listed, list) and len(listed) == 2:
        pair = listed
    if pair == [None, None]:
        return None
    for key, value in zip(("w", "h"), pair):
        if not is_positive(value) or float(value) != int(float(value)):
            raise InputError(f'{path}: "{key}" is {value!r}; it must be a whole number of pixels.')
    return int(float(pair[0])), int(float(pair[1]))


def _scale(path: Path, block: dict[str, Any]) -> float | None:
    """Metres per unit of depth. Files have units per metre; numbers below 1 can only be metres per unit."""
    value = _first(block, _SCALES)
    if value is None:
        return None
    if not is_positive(value):
        raise InputError(f'{path}: "scale" is {value!r}; it must be positive, units of depth per metre.')
    return float(value) if float(value) < 1 else 1 / float(value)


def _is_set(value: Any) -> bool:
    if isinstance(value, dict):
        value = value.get("data")
    values = value if isinstance(value, list) else [value]
    return any(is_number(item) and float(item) != 0 for item in values)
