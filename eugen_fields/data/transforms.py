"""Transforms files, which nerfstudio, instant-ngp and Blender's exporters write: frames with their images and poses."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

from eugen_fields.data.cameras.intrinsics import CAMERA_NAMES
from eugen_fields.data.cameras.poses import read_pose
from eugen_fields.data.scenes.names import FileFinder, clean_name
from eugen_fields.data.scenes.notes import tell
from eugen_fields.data.scenes.text import read_json
from eugen_fields.errors import InputError

_HARMLESS = ("sharpness", "colmap_im_id", "rotation", "timestamp", "time", "camera_label", "name", "id")
"""Names in transforms files that say nothing of cameras or images: nobody misses them."""


def read_frames(path: Path) -> dict[str, Any]:
    """A transforms file: valid JSON with at least one frame.

    Raises:
        InputError: naming the file and what is wrong in it.
    """
    content = read_json(path)
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
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str) or not frame["file_path"].strip():
            raise InputError(f'{path}, frame {index}: no "file_path"; each frame names its image there.')
        where = f"{path}, frame {index} ({frame['file_path']})"
        frame["transform_matrix"] = read_pose(frame.get("transform_matrix"), where)
    return content


def find_files(path: Path, content: dict[str, Any], finder: FileFinder, key: str = "file_path") -> list[Path | None]:
    """The file that each frame names, found as FileFinder does; None where it names none. Where there is no such file,
    the path that it would most likely have.

    Args:
        path: of the transforms file, for messages.
        content: of it.
        finder: of files below its folder.
        key: that names the file in a frame.

    Raises:
        InputError: frames that name different files mean the same one.
    """
    paths: list[Path | None] = []
    meant: dict[Path, str] = {}
    for frame in content["frames"]:
        name = frame.get(key)
        if not isinstance(name, str) or not name.strip():
            paths.append(None)
            continue
        found = finder.find(name)
        if found is None:
            likely = finder.root / clean_name(name)
            found = likely if likely.suffix else likely.with_name(likely.name + finder.default_ending)
        elif clean_name(meant.setdefault(found, name)) != clean_name(name):
            raise InputError(
                f"{path}: {meant[found]} and {name} are not where the file says, and {found} may be either. Put the "
                "files into folders as the scene names them."
            )
        paths.append(found)
    if finder.elsewhere:
        tell(
            f"{path}: {len(finder.elsewhere)} files are named by paths of another place (first: "
            f"{finder.elsewhere[0]}); the files of these names in {finder.root} are read."
        )
        finder.elsewhere.clear()
    return paths


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
