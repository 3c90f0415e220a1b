"""Cameras of depth recordings whose layout has none of its own: JSON files, and the TUM benchmark's defaults."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from eugen_fields.errors import InputError

TUM_INTRINSICS = {"freiburg3": (535.4, 539.2, 320.1, 247.6), "": (525.0, 525.0, 319.5, 239.5)}
"""fx, fy, cx, cy of the TUM sequences (640x480) by a part of their folder's name: the third camera's own, whose images
are undistorted; for the others the ROS defaults, which the benchmark recommends for its registered images."""
CAMERA_KEYS = ("w", "h", "fx", "fy", "cx", "cy")


def is_number(value: Any) -> bool:
    """Whether a value from a file is a finite number, or the text of one."""
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def is_positive(value: Any) -> bool:
    """Whether a value from a file is a finite number above 0, or the text of one."""
    return is_number(value) and float(value) > 0


def _camera_block(content: Any) -> dict[str, Any] | None:
    """The intrinsics in a JSON file, at its top, in "camera", or where iSDF's configurations have them."""
    if not isinstance(content, dict):
        return None
    for outer in (content, content.get("dataset")):
        if not isinstance(outer, dict):
            continue
        for block in (outer, outer.get("camera")):
            if isinstance(block, dict) and all(key in block for key in CAMERA_KEYS):
                return {"scale": outer.get("depth_scale", outer.get("scale")), **block}
    return None


def _load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def find_camera(folders: list[Path]) -> Path | None:
    """The first JSON file in these folders that holds a camera."""
    files = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    return next((path for path in files if _camera_block(_load_json(path))), None)


def read_camera(path: Path) -> tuple[int, int, tuple[float, float, float, float], float | None]:
    """Width, height, intrinsics as nerfstudio counts pixels, and metres per unit of depth where the file has a scale.

    Raises:
        InputError: the file holds no camera, or numbers that are out of range.
    """
    block = _camera_block(_load_json(path))
    if block is None:
        raise InputError(f"{path} is no camera: it must be JSON with the numbers {', '.join(CAMERA_KEYS)}.")
    for key in CAMERA_KEYS:
        if not (is_number if key in ("cx", "cy") else is_positive)(block[key]):
            raise InputError(f'{path}: "{key}" is {block[key]!r}; it must be a number of pixels.')
    if block["scale"] is not None and not is_positive(block["scale"]):
        raise InputError(f'{path}: "scale" is {block["scale"]!r}; it must be positive, units of depth per metre.')
    fx, fy, cx, cy = (float(block[key]) for key in CAMERA_KEYS[2:])
    scale = None if block["scale"] is None else 1 / float(block["scale"])
    return int(block["w"]), int(block["h"]), (fx, fy, cx + 0.5, cy + 0.5), scale
