"""Transforms files, which nerfstudio, instant-ngp and Blender's exporters write: frames with their images and poses."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

from eugen_fields.data.cameras.intrinsics import CAMERA_NAMES
from eugen_fields.data.cameras.poses import read_pose
from eugen_fields.errors import InputError

_HARMLESS = ("sharpness", "colmap_im_id", "rotation", "timestamp", "time", "camera_label", "name", "id")
"""Names in transforms files that say nothing of cameras or images: nobody misses them."""


def read_frames(path: Path) -> dict[str, Any]:
    """A transforms file: valid JSON with at least one frame.

    Raises:
        InputError: naming the file and what is wrong in it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}). Re-export the scene or fix the file.") from None
    if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
        raise InputError(f'{path} has no list "frames"; a transforms file needs one entry per image there.')
    if not content["frames"]:
        raise InputError(f'{path} has an empty list "frames"; at least one posed image is needed.')
    return content


def read_transforms(path: Path) -> dict[str, Any]:
    """A transforms file whose frames each have a path and a rigid 4x4 pose, which is made float64 (4, 4).

    Raises:
        InputError: naming the file and what is wrong in it.
    """
    content = read_frames(path)
    for index, frame in enumerate(content["frames"]):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise InputError(f'{path}, frame {index}: no "file_path"; each frame names its image there.')
        where = f"{path}, frame {index} ({frame['file_path']})"
        frame["transform_matrix"] = read_pose(frame.get("transform_matrix"), where)
    return content


def find_image(folder: Path, name: str, endings: tuple[str, ...] = (".png",)) -> Path:
    """The file that a frame names: as it stands, or with one of the endings. Backslashes separate folders too.

    Where there is no such file, the path that it would most likely have.
    """
    path = folder / name
    choices = [path, *(path.with_name(path.name + ending) for ending in endings)]
    if "\\" in name:
        choices += [folder / choice.relative_to(folder).as_posix().replace("\\", "/") for choice in choices]
    found = next((choice for choice in choices if choice.is_file()), None)
    return found or (path if path.suffix or not endings else choices[1])


def warn_of_unused(path: Path, content: dict[str, Any], used: Collection[str]) -> None:
    """One warning that lists what a transforms file says and nothing here reads.

    Args:
        path: the file.
        content: of it.
        used: names that its reader knows, beside those of cameras.
    """
    known = {*CAMERA_NAMES, *used, *_HARMLESS, "frames", "file_path", "transform_matrix"}
    unused = sorted({name for block in (content, *content["frames"]) for name in block} - known)
    if unused:
        warnings.warn(f"{path}: not used: {', '.join(map(str, unused))}.", stacklevel=3)
