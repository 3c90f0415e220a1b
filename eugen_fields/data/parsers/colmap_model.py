"""COLMAP models, text or binary, read alike: cameras as lenses, images as camera-to-world poses.

Formats and camera models: COLMAP's documentation (output format; cameras) and its src/colmap/sensor/models.h.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from nerfstudio.cameras.cameras import CameraType
from scipy.spatial.transform import Rotation

from eugen_fields.data.cameras.intrinsics import DISTORTION, Lens
from eugen_fields.errors import InputError

_FISHEYES = ("OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE")
_PARAMETERS = {
    "SIMPLE_PINHOLE": "f cx cy",
    "PINHOLE": "fx fy cx cy",
    "SIMPLE_RADIAL": "f cx cy k1",
    "RADIAL": "f cx cy k1 k2",
    "OPENCV": "fx fy cx cy k1 k2 p1 p2",
    "OPENCV_FISHEYE": "fx fy cx cy k1 k2 k3 k4",
    "FULL_OPENCV": "fx fy cx cy k1 k2 p1 p2 k3 k4' k5' k6'",
    "FOV": "fx fy cx cy omega",
    "SIMPLE_RADIAL_FISHEYE": "f cx cy k1",
    "RADIAL_FISHEYE": "f cx cy k1 k2",
    "THIN_PRISM_FISHEYE": "fx fy cx cy k1 k2 p1 p2 k3 k4 sx1 sy1",
}
"""Names of the parameters of each model, in the order of COLMAP's numbers of the models. Those that nerfstudio's
cameras have no counterpart of (k4' to k6' are of a denominator) must be 0."""
_READ = [name for name in _PARAMETERS if name != "FOV"]


@dataclass(frozen=True)
class ColmapImage:
    """A photo that COLMAP has registered."""

    number: int
    name: str
    camera: int
    pose: Float[np.ndarray, "4 4"]
    """Camera-to-world in COLMAP's world, with OpenGL camera axes (x right, y up, looking along -z)."""


@dataclass(frozen=True)
class ColmapModel:
    """Lenses by the numbers of their cameras, and the images in the order of theirs."""

    lenses: dict[int, Lens]
    images: list[ColmapImage]


MODEL_PLACES = ("colmap/sparse/0", "sparse/0", "sparse")
"""Where in a scene's folder models usually lie."""


def model_format(folder: Path) -> str | None:
    """The ending of the model's files in a folder: of a whole pair, binary ones first as in COLMAP, else of what there
    is; None where there is nothing."""
    found = [suffix for suffix in (".bin", ".txt") if (folder / f"cameras{suffix}").is_file()]
    return next((suffix for suffix in found if (folder / f"images{suffix}").is_file()), found[0] if found else None)


def read_scene_model(folder: Path) -> ColmapModel:
    """The model in a folder.

    Raises:
        InputError: what read_model raises; there is none; or there are a text and a binary model that differ.
    """
    suffix = model_format(folder)
    if suffix is None:
        raise InputError(f"{folder} holds neither cameras.txt nor cameras.bin; a COLMAP model has one of them.")
    model = read_model(folder / f"cameras{suffix}", folder / f"images{suffix}")
    text = [folder / "cameras.txt", folder / "images.txt"]
    if suffix == ".bin" and all(path.is_file() for path in text):
        differing = _difference(model, read_model(*text))
        if differing:
            raise InputError(
                f"{folder} holds a binary and a text model that differ in {differing}. Remove the .txt or the .bin "
                "files, whichever are older."
            )
    return model


def read_model(cameras: Path, images: Path) -> ColmapModel:
    """The model in a pair of files, .txt or .bin.

    Raises:
        InputError: a file is damaged, a camera is of a model that nerfstudio's cameras cannot have, or an image has a
            camera that is not there.
    """
    rows = _reading(_cameras_text if cameras.suffix == ".txt" else _cameras_binary, cameras)
    lenses = {number: _lens(cameras, number, *row) for number, *row in rows}
    found = []
    for number, numbers, camera, name in _reading(_images_text if images.suffix == ".txt" else _images_binary, images):
        if camera not in lenses:
            raise InputError(
                f"{images}: {name} has camera {camera}, but {cameras} has none of that number. Export the model again."
            )
        found.append(ColmapImage(number, name, camera, _pose(np.array(numbers), f"{images}: {name}")))
    return ColmapModel(lenses, sorted(found, key=lambda image: image.number))


def _difference(first: ColmapModel, second: ColmapModel) -> str:
    """What differs between two models, or nothing."""
    if first.lenses.keys() != second.lenses.keys() or any(
        not np.allclose(_numbers(first.lenses[number]), _numbers(second.lenses[number]), rtol=1e-4, atol=1e-6)
        for number in first.lenses
    ):
        return "cameras"
    names = [{image.name: image for image in model.images} for model in (first, second)]
    if names[0].keys() != names[1].keys():
        return "the lists of images"
    scale = 1.0 + max((float(np.abs(image.pose).max()) for image in first.images), default=0.0)
    for name, image in names[0].items():
        if np.abs(image.pose - names[1][name].pose).max() > 1e-4 * scale:
            return f"the pose of {name}"
    return ""


def _numbers(lens: Lens) -> list[float]:
    return [lens.kind.value, lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy, *lens.distortion]


def _lens(path: Path, number: int, model: str, width: int, height: int, parameters: tuple[float, ...]) -> Lens:
    where = f"{path}: camera {number} has the model {model} with {len(parameters)} parameters"
    advice = "Run COLMAP with `--ImageReader.camera_model OPENCV` or OPENCV_FISHEYE, or undistort the images."
    if model not in _READ:
        raise InputError(f"{where}; models that can be used are {', '.join(_READ)}. {advice}")
    names = _PARAMETERS[model].split()
    if len(names) != len(parameters):
        raise InputError(f"{where}; it has {len(names)} ({', '.join(names)}). Export the model again.")
    given = dict(zip(names, parameters))
    known = {"f", "fx", "fy", "cx", "cy", *DISTORTION}
    foreign = [name for name, value in given.items() if name not in known and value != 0]
    if foreign:
        raise InputError(
            f"{where}, of which {foreign[0]} is {given[foreign[0]]:g}: nerfstudio's cameras have no such term. {advice}"
        )
    return Lens(
        kind=CameraType.FISHEYE if model in _FISHEYES else CameraType.PERSPECTIVE,
        width=width,
        height=height,
        fx=given.get("fx", given.get("f", math.nan)),
        fy=given.get("fy", given.get("f", math.nan)),
        cx=given["cx"],
        cy=given["cy"],
        distortion=tuple(given.get(name, 0.0) for name in DISTORTION),
    )


def _pose(numbers: np.ndarray, where: str) -> np.ndarray:
    """Camera-to-world of qw qx qy qz tx ty tz, which are world-to-camera with OpenCV axes."""
    length = np.linalg.norm(numbers[:4])
    if not (np.isfinite(numbers).all() and length > 1e-6):
        raise InputError(f"{where}: the pose holds NaN or infinity, or a quaternion of zeros. Export the model again.")
    turn = Rotation.from_quat(numbers[[1, 2, 3, 0]] / length).as_matrix().T
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn * [1.0, -1.0, -1.0], -turn @ numbers[4:]
    return pose


def _reading(read, path: Path) -> list:
    kind = (OSError, ValueError, IndexError, OverflowError, MemoryError, struct.error)
    try:
        return list(read(path))
    except InputError:
        raise
    except kind as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}: {error}). Export the model again.") from None


def _lines(path: Path) -> list[str]:
    """Lines without comments; empty ones stay, as they mean something in images.txt."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return [line.strip() for line in lines if not line.lstrip().startswith("#")]


def _cameras_text(path: Path) -> Iterator[tuple]:
    for line in filter(None, _lines(path)):
        number, model, width, height, *parameters = line.split()
        yield int(number), model, int(width), int(height), tuple(map(float, parameters))


def _cameras_binary(path: Path) -> Iterator[tuple]:
    content = path.read_bytes()
    (count,), at = struct.unpack_from("<Q", content), 8
    models = list(_PARAMETERS)
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<iiQQ", content, at)
        if not 0 <= model < len(models):
            raise InputError(
                f"{path}: camera {number} has the model of number {model}, which is not known here. Models that can be "
                f"used are {', '.join(_READ)}."
            )
        size = len(_PARAMETERS[models[model]].split())
        yield number, models[model], width, height, struct.unpack_from(f"<{size}d", content, at + 24)
        at += 24 + 8 * size


def _images_text(path: Path) -> Iterator[tuple]:
    """Each image is a line of its pose, and a line of the points seen in it, which may be empty or absent."""
    lines = _lines(path)
    at = 0
    while at < len(lines):
        words = lines[at].split(maxsplit=9)
        at += 1
        if not words:
            continue
        if len(words) < 10:
            raise ValueError(f"a line with {len(words)} words; an image has 10: {' '.join(words)[:60]}")
        yield int(words[0]), tuple(map(float, words[1:8])), int(words[8]), words[9].replace("\\", "/")
        if at < len(lines) and not _is_image(lines[at]):
            at += 1


def _is_image(line: str) -> bool:
    """Whether a line of images.txt is of an image, not of points, which are numbers alone."""
    words = line.split(maxsplit=9)
    try:
        float(words[9].split()[0] if len(words) == 10 else "0")
    except ValueError:
        return True
    return False


def _images_binary(path: Path) -> Iterator[tuple]:
    content = path.read_bytes()
    (count,), at = struct.unpack_from("<Q", content), 8
    for _ in range(count):
        number, *numbers, camera = struct.unpack_from("<i7di", content, at)
        end = content.index(b"\0", at + 64)
        name = content[at + 64 : end].decode("utf-8").replace("\\", "/")
        (points,) = struct.unpack_from("<Q", content, end + 1)
        at = end + 9 + 24 * points
        if at > len(content):
            raise ValueError("it ends too early")
        yield number, tuple(numbers), camera, name
