"""Checks of the cameras in a transforms.json, whose gaps and slips nerfstudio's parser passes over or trips on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from nerfstudio.cameras.cameras import CAMERA_MODEL_TO_TYPE

from eugen_fields.errors import InputError

_INTRINSICS = ("fl_x", "fl_y", "cx", "cy", "w", "h")
_POSITIVE = ("fl_x", "fl_y", "w", "h")
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")


def check_intrinsics(path: Path, content: dict[str, Any]) -> None:
    """Every frame has a camera: a known model, all intrinsics, finite numbers, and a mask if another frame has one.

    Args:
        path: the transforms file, for messages.
        content: of that file, with its frames checked by read_transforms.

    Raises:
        InputError: naming the file, the frame, what was found and what would do.
    """
    model = content.get("camera_model", "OPENCV")
    if model not in CAMERA_MODEL_TO_TYPE:
        raise InputError(f'{path}: "camera_model" is {model!r}; it must be one of {", ".join(CAMERA_MODEL_TO_TYPE)}.')
    _check_numbers(content, str(path))
    frames = content["frames"]
    with_mask = [bool(frame.get("mask_path")) for frame in frames]
    for index, frame in enumerate(frames):
        where = f"{path}, frame {index} ({frame['file_path']})"
        if frame.get("camera_model", model) != model:
            raise InputError(
                f'{where}: "camera_model" is {frame["camera_model"]!r}, but nerfstudio gives all frames that of the '
                f"file ({model}). Put frames of another model into a scene of their own."
            )
        missing = [name for name in _INTRINSICS if name not in content and name not in frame]
        if missing:
            hint = " A file with camera_angle_x instead is for `instant-ngp-data` at the end of the command."
            raise InputError(
                f"{where}: no {', '.join(missing)}. Give fl_x, fl_y, cx, cy, w and h (pixels) once for the file or in "
                f"each frame.{hint if 'camera_angle_x' in content else ''}"
            )
        for name in _INTRINSICS:
            if name in content and frame.get(name, content[name]) != content[name]:
                raise InputError(
                    f'{where}: "{name}" is {frame[name]!r}, but the file has {content[name]!r} for all frames, which '
                    "is what nerfstudio would use. Remove one of the two."
                )
        _check_numbers(frame, where)
        if with_mask[index] != with_mask[0]:
            frame_without = with_mask.index(False)
            raise InputError(
                f'{path}: frame {with_mask.index(True)} has a "mask_path" and frame {frame_without} '
                f"({frames[frame_without]['file_path']}) has none. Give all frames one, white where all is valid."
            )


def _check_numbers(camera: dict[str, Any], where: str) -> None:
    """The numbers of one camera, as far as they are there."""
    named = [(name, camera[name]) for name in (*_INTRINSICS, *_DISTORTION) if name in camera]
    listed = camera.get("distortion_params", [])
    if not isinstance(listed, list):
        raise InputError(f'{where}: "distortion_params" is {listed!r}; it must be a list of numbers.')
    for name, value in [*named, *(("distortion_params", value) for value in listed)]:
        try:
            finite = math.isfinite(float(value))
        except (TypeError, ValueError):
            finite = False
        if not finite:
            raise InputError(f'{where}: "{name}" is {value!r}; it must be a finite number. Calibrate the camera again.')
        if name in _POSITIVE and float(value) <= 0:
            raise InputError(f'{where}: "{name}" is {value!r}; it must be positive (pixels).')
