"""The lens of each frame of a transforms file, wherever in it the numbers stand; contradictions are refused.

A number stands for the whole file or in a frame. Focal lengths are pixels (fl_x, fl_y) or angles of view
(camera_angle_x, camera_angle_y in radians; x_fov, y_fov in degrees). Distortion is named (k1 to k4, p1, p2) or a list
"distortion_params" in the order k1, k2, k3, k4, p1, p2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfstudio.cameras.cameras import CAMERA_MODEL_TO_TYPE, CameraType

from eugen_fields.errors import InputError

_SIZES = ("w", "h")
_FOCALS = ("fl_x", "fl_y")
_CENTRES = ("cx", "cy")
_ANGLES = {"camera_angle_x": 1.0, "camera_angle_y": 1.0, "x_fov": math.pi / 180.0, "y_fov": math.pi / 180.0}
"""Names of angles of view, with radians per unit."""
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_FOREIGN = ("k5", "k6", "s1", "s2", "s3", "s4", "skew", "b1", "b2", "xi", "omega", "latlong", "rolling_shutter")
"""What other programs know of lenses and nerfstudio's cameras do not have. Zeros are no loss."""
_CROP = "fisheye_crop_radius"
_NUMBERS = (*_SIZES, *_FOCALS, *_CENTRES, *_ANGLES, *DISTORTION)
CAMERA_NAMES = (*_NUMBERS, *_FOREIGN, _CROP, "distortion_params", "camera_model", "is_fisheye")
"""Everything in a transforms file that read_cameras looks at."""

_AGREE = 1e-3
"""Relative difference up to which a focal length and an angle of view say the same."""
TRAINABLE = (CameraType.PERSPECTIVE, CameraType.FISHEYE, CameraType.EQUIRECTANGULAR)
"""Types of cameras whose rays nerfstudio makes rightly for pixels drawn at random. Those of stereo panoramas (ODS,
VR180) are computed for whole images of one camera, orthophotos do not follow the scale of the poses, and FISHEYE624
takes the lens of the first camera for all."""
_OF_MODEL = {
    "SIMPLE_PINHOLE": (),
    "PINHOLE": (),
    "SIMPLE_RADIAL": ("k1",),
    "RADIAL": ("k1", "k2"),
    "EQUIRECTANGULAR": (),
}
"""Coefficients of the models that have fewer than all."""


@dataclass(frozen=True)
class Lens:
    """One camera without its pose."""

    kind: CameraType
    width: int
    height: int
    fx: float
    """Focal lengths and principal point, pixels; the middle of the first pixel is at (0.5, 0.5)."""
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = (0.0,) * 6
    """k1, k2, k3, k4, p1, p2: of the tangent of the angle to the optical axis, or, for fisheyes, of the angle."""
    crop_radius: float | None = None
    """Radius of a fisheye's image circle, pixels."""


def read_cameras(
    path: Path,
    content: dict[str, Any],
    *,
    angles: bool = False,
    image_size: Callable[[dict[str, Any]], tuple[int, int]] | None = None,
) -> list[Lens]:
    """The lens of each frame of a transforms file.

    Args:
        path: the file, for messages.
        content: of that file, with frames that have a "file_path".
        angles: angles of view may stand in for focal lengths, and the middle of the image for the principal point.
        image_size: width and height of a frame's image, used where the file has none.

    Raises:
        InputError: naming the file, the frame, what was found and what would do.
    """
    whole = {name: value for name, value in content.items() if name != "frames"}
    _check_numbers(whole, str(path))
    lenses, known = [], {}
    for index, frame in enumerate(content["frames"]):
        where = f"{path}, frame {index} ({frame['file_path']})"
        _check_numbers(frame, where)
        merged = _merged(whole, frame, where)
        if image_size is not None and not all(name in merged for name in _SIZES):
            width, height = image_size(frame)
            merged = {"w": width, "h": height} | merged
        key = repr(merged)
        if key not in known:
            known[key] = _lens(merged, where, angles)
        lenses.append(known[key])
    kinds = [lens.kind for lens in lenses]
    if len(set(kinds)) > 1:
        other = next(index for index, kind in enumerate(kinds) if kind is not kinds[0])
        raise InputError(
            f"{path}, frame {other}: its camera is of type {kinds[other].name}, that of frame 0 of type "
            f"{kinds[0].name}. Put frames of another type into a scene of their own."
        )
    return lenses


def _merged(whole: dict[str, Any], frame: dict[str, Any], where: str) -> dict[str, Any]:
    """What the file and a frame of it say of the lens."""
    for name in CAMERA_NAMES:
        if name in whole and frame.get(name, whole[name]) != whole[name]:
            raise InputError(
                f'{where}: "{name}" is {frame[name]!r}, but the file has {whole[name]!r} for all frames. Remove one of '
                "the two."
            )
    return {name: block[name] for block in (whole, frame) for name in CAMERA_NAMES if name in block}


def _lens(camera: dict[str, Any], where: str, angles: bool) -> Lens:
    model, kind = _kind(camera, where)
    needed = [*_SIZES, *(() if angles else (*_FOCALS, *_CENTRES))]
    missing = [name for name in needed if name not in camera]
    if missing:
        hint = " A file with camera_angle_x instead is for `instant-ngp-data` at the end of the command."
        raise InputError(
            f"{where}: no {', '.join(missing)}. Give fl_x, fl_y, cx, cy, w and h (pixels) once for the file or in "
            f"each frame.{hint if any(name in camera for name in _ANGLES) else ''}"
        )
    width, height = int(float(camera["w"])), int(float(camera["h"]))
    fx, fy = (_focal(camera, axis, side, kind, where) for axis, side in (("x", width), ("y", height)))
    if fx is None and fy is None:
        raise InputError(f"{where}: no focal length. Give fl_x (pixels) or camera_angle_x (radians).")
    cx, cy = float(camera.get("cx", width / 2)), float(camera.get("cy", height / 2))
    if not (0 < cx < width and 0 < cy < height):
        raise InputError(
            f"{where}: the principal point ({cx:g}, {cy:g}) is outside the image of {width}x{height} pixels. The "
            "intrinsics are of images of another size, or cx and cy are not in pixels: scale fl_x, fl_y, cx and cy "
            "with the images."
        )
    return Lens(
        kind=kind,
        width=width,
        height=height,
        fx=fx or fy or 0.0,
        fy=fy or fx or 0.0,
        cx=cx,
        cy=cy,
        distortion=_distortion(camera, model, where),
        crop_radius=float(camera[_CROP]) if camera.get(_CROP) is not None and kind is CameraType.FISHEYE else None,
    )


def _kind(camera: dict[str, Any], where: str) -> tuple[str, CameraType]:
    """The name of the camera model and nerfstudio's type of it."""
    fisheye = bool(camera.get("is_fisheye"))
    model = camera.get("camera_model", "OPENCV_FISHEYE" if fisheye else "OPENCV")
    if not isinstance(model, str) or model not in CAMERA_MODEL_TO_TYPE:
        names = ", ".join(name for name, kind in CAMERA_MODEL_TO_TYPE.items() if kind in TRAINABLE)
        raise InputError(
            f'{where}: "camera_model" is {model!r}; it must be one of {names}. Undistort the images of other lenses.'
        )
    kind = CAMERA_MODEL_TO_TYPE[model]
    if fisheye and kind is not CameraType.FISHEYE:
        raise InputError(f'{where}: "is_fisheye" is set, but "camera_model" is {model}. Remove one of the two.')
    if kind not in TRAINABLE:
        raise InputError(
            f'{where}: nothing can be trained on cameras of "camera_model" {model}: nerfstudio makes their rays for '
            "rendering only. Convert the images to perspective, fisheye or equirectangular ones."
        )
    return model, kind


def _focal(camera: dict[str, Any], axis: str, side: int, kind: CameraType, where: str) -> float | None:
    """The focal length along an axis, pixels, of everything that tells it; None where nothing does."""
    name = f"fl_{axis}"
    said = {name: float(camera[name])} if name in camera else {}
    for angle in (f"camera_angle_{axis}", f"{axis}_fov"):
        if angle in camera and kind is CameraType.PERSPECTIVE:
            said[angle] = 0.5 * side / math.tan(0.5 * _ANGLES[angle] * float(camera[angle]))
    if not said:
        return None
    (first, value), *others = said.items()
    for other, also in others:
        if abs(also / value - 1) > _AGREE:
            raise InputError(
                f'{where}: "{other}" {camera[other]!r} means a focal length of {also:.5g} pixels in {side} pixels, but '
                f'"{first}" {camera[first]!r} means {value:.5g}. Remove the wrong one, or scale it with the images.'
            )
    return value


def _distortion(camera: dict[str, Any], model: str, where: str) -> tuple[float, ...]:
    named: dict[str, float] = {name: float(camera[name]) for name in DISTORTION if name in camera}
    listed = camera.get("distortion_params")
    if listed:
        if len(listed) != len(DISTORTION):
            raise InputError(
                f'{where}: "distortion_params" has {len(listed)} numbers; nerfstudio has {len(DISTORTION)}, in the '
                f"order {', '.join(DISTORTION)} (OpenCV's is another). Give them by these names instead."
            )
        given: dict[str, float] = dict(zip(DISTORTION, map(float, listed)))
        differing = [name for name, value in named.items() if value != given[name]]
        if differing:
            raise InputError(
                f'{where}: "{differing[0]}" is {camera[differing[0]]!r}, but "distortion_params" has '
                f"{given[differing[0]]!r} for it (order {', '.join(DISTORTION)}). Remove one of the two."
            )
        named = given
    foreign = [name for name in _FOREIGN if _is_set(camera.get(name))]
    foreign += [name for name, value in named.items() if value and name not in _OF_MODEL.get(model, DISTORTION)]
    if foreign:
        raise InputError(
            f'{where}: "{foreign[0]}" is {camera.get(foreign[0], named.get(foreign[0]))!r}, which nerfstudio\'s camera '
            f"model {model} does not have. Undistort the images, or calibrate with OPENCV or OPENCV_FISHEYE."
        )
    return tuple(named.get(name, 0.0) for name in DISTORTION)


def _is_set(value: Any) -> bool:
    values = value if isinstance(value, (list, tuple)) else [value]
    return any(bool(item) and item != "0" for item in values)


def _check_numbers(camera: dict[str, Any], where: str) -> None:
    """The numbers of one camera, as far as they are there."""
    named = [(name, camera[name]) for name in _NUMBERS if name in camera]
    if camera.get(_CROP) is not None:
        named.append((_CROP, camera[_CROP]))
    listed = camera.get("distortion_params", [])
    if not isinstance(listed, list):
        raise InputError(f'{where}: "distortion_params" is {listed!r}; it must be a list of numbers.')
    for name, value in [*named, *(("distortion_params", value) for value in listed)]:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f'{where}: "{name}" is {value!r}; it must be a finite number. Calibrate the camera again.')
        if name in (*_FOCALS, *_SIZES, _CROP) and number <= 0:
            raise InputError(f'{where}: "{name}" is {value!r}; it must be positive (pixels).')
        if name in _SIZES and number != int(number):
            raise InputError(f'{where}: "{name}" is {value!r}; it must be a whole number of pixels.')
        if name in _ANGLES and not 0 < number * _ANGLES[name] < math.pi:
            unit = "radians, above 0 and below pi" if _ANGLES[name] == 1.0 else "degrees, above 0 and below 180"
            raise InputError(f'{where}: "{name}" is {value!r}; it must be an angle of view in {unit}.')
