"""Checks of a scene on disk that run before any training, so that bad input gives one clear message."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig, DataparserOutputs
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image
from tqdm import tqdm

from eugen_fields.data.captures import check_intrinsics
from eugen_fields.data.colmap import check_colmap
from eugen_fields.data.multiscale import check_scales
from eugen_fields.errors import InputError

_PROGRESS_FROM = 200
"""Number of images from which reading them shows a progress bar."""


def read_frames(path: Path) -> dict[str, Any]:
    """A transforms file: valid JSON with at least one frame.

    Raises:
        InputError: naming the file and what is wrong in it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not valid JSON ({error}). Re-export the scene or fix the file.") from None
    if not isinstance(content, dict) or not isinstance(content.get("frames"), list):
        raise InputError(f'{path} has no list "frames"; a transforms file needs one entry per image there.')
    if not content["frames"]:
        raise InputError(f'{path} has an empty list "frames"; at least one posed image is needed.')
    return content


def read_transforms(path: Path) -> dict[str, Any]:
    """A transforms file whose frames each have a path and a rigid 4x4 pose.

    Raises:
        InputError: naming the file and what is wrong in it.
    """
    content = read_frames(path)
    for index, frame in enumerate(content["frames"]):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise InputError(f'{path}, frame {index}: no "file_path"; each frame names its image there.')
        check_pose(frame.get("transform_matrix"), f"{path}, frame {index} ({frame['file_path']})")
    return content


def check_pose(matrix: Any, where: str) -> None:
    """Checks a camera-to-world matrix, 4x4 or 3x4: finite, with a rotation (orthonormal to 1e-2, not a mirror image).

    Raises:
        InputError: saying where and what is wrong.
    """
    try:
        pose = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        pose = np.zeros(0)
    if pose.shape not in ((4, 4), (3, 4)):
        raise InputError(f'{where}: "transform_matrix" is not a 4x4 matrix of numbers.')
    if not np.isfinite(pose).all():
        raise InputError(f"{where}: the pose holds NaN or infinity. Remove the frame or estimate its pose again.")
    rotation = pose[:3, :3]
    error = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if error > 1e-2 or np.linalg.det(rotation) < 0:
        raise InputError(
            f"{where}: the pose is not rigid (its 3x3 part differs from a rotation by {error:.2g}, "
            f"determinant {np.linalg.det(rotation):.3g}). Scale and shear must not be in camera poses."
        )


def _check_blender(data: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        path = data / f"transforms_{split}.json"
        if not path.exists():
            hint = "A Blender scene has transforms_train.json, transforms_val.json and transforms_test.json."
            if (data / "transforms.json").exists():
                hint = "There is a transforms.json: put `nerfstudio-data` at the end of the command."
            elif (data / "colmap").is_dir() or (data / "sparse").is_dir():
                hint = "There is a COLMAP folder: put `colmap` at the end of the command."
            raise InputError(f"{data} has no transforms_{split}.json. {hint}")
        content = read_transforms(path)
        angle = content.get("camera_angle_x")
        if not isinstance(angle, (int, float)) or not 0 < angle < np.pi:
            raise InputError(
                f'{path}: "camera_angle_x" is {angle!r}; it must be the horizontal field of view in radians.'
            )


def _check_nerfstudio(parser: NerfstudioDataParserConfig, data: Path, images: bool) -> None:
    path = data if data.suffix == ".json" else data / "transforms.json"
    if not path.exists():
        hint = "ns-process-data makes one from photos."
        if (data / "transforms_train.json").exists():
            hint = "There is a transforms_train.json: put `blender-data` at the end of the command."
        elif (data / "colmap").is_dir() or (data / "sparse").is_dir():
            hint = "There is a COLMAP folder: put `colmap` at the end of the command."
        raise InputError(f"{data} has no transforms.json. {hint}")
    content = read_transforms(path)
    check_intrinsics(path, content)
    if images and parser.downscale_factor is None:  # the parser itself opens the first image
        _check_opens(path.parent / content["frames"][0]["file_path"])


def _check_opens(path: Path) -> tuple[tuple[int, int], int]:
    """The size (width, height) and the number of channels of an image that decodes to its end."""
    if not path.exists():
        raise InputError(f"image {path} does not exist, but the scene's cameras name it.")
    try:
        with Image.open(path) as image:
            image.load()
            return image.size, len(image.getbands())
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"image {path} cannot be read ({error}). Copy or render it again.") from None


def check_cameras(outputs: DataparserOutputs) -> None:
    """Checks that every camera is rigid and has finite intrinsics and distortion, and positive focal lengths and sizes.

    Raises:
        InputError: naming the image of the first that is not, and what it has.
    """
    cameras = outputs.cameras
    numbers = {"fx": cameras.fx, "fy": cameras.fy, "cx": cameras.cx, "cy": cameras.cy}
    if cameras.distortion_params is not None:
        numbers["distortion"] = cameras.distortion_params
    for index, path in enumerate(outputs.image_filenames):
        check_pose(torch.as_tensor(cameras.camera_to_worlds[index]).tolist(), str(path))
        for name, values in numbers.items():
            if not values[index].isfinite().all():
                raise InputError(f"the camera of {path} has {name} {values[index].tolist()}; calibrate it again.")
        for name in ("fx", "fy", "width", "height"):
            value = float(getattr(cameras, name)[index])
            if value <= 0:
                raise InputError(f"the camera of {path} has {name} {value:g}; it must be positive (pixels).")


def check_images(outputs: DataparserOutputs) -> None:
    """Checks that every image and every mask is there, decodes to its end, and has the size that its camera says.

    Raises:
        InputError: naming the first file that does not.
    """
    sizes = zip(outputs.cameras.width.flatten().tolist(), outputs.cameras.height.flatten().tolist())
    masks = outputs.mask_filenames or [None] * len(outputs.image_filenames)

    def check(item: tuple[Path, Path | None, tuple[int, int]]) -> None:
        path, mask_path, wanted = item
        size, _ = _check_opens(Path(path))
        if size != wanted:
            raise InputError(
                f"image {path} has {size[0]}x{size[1]} pixels, its camera says {wanted[0]}x{wanted[1]}. "
                "All images of a camera must have one size."
            )
        if mask_path is None:
            return
        size, channels = _check_opens(Path(mask_path))
        if size != wanted:
            raise InputError(
                f"mask {mask_path} has {size[0]}x{size[1]} pixels, its image {path} has {wanted[0]}x{wanted[1]}. "
                "A mask has the size of its image."
            )
        if channels != 1:
            raise InputError(
                f"mask {mask_path} has {channels} channels; save it as a greyscale image, black where a pixel must "
                "not be used."
            )

    items = list(zip(outputs.image_filenames, masks, sizes))
    with ThreadPoolExecutor() as pool:
        checks = pool.map(check, items)
        for _ in tqdm(checks, total=len(items), desc="Checking images", disable=len(items) < _PROGRESS_FROM):
            pass


def check_scene(
    parser: DataParserConfig,
    data: Path | None,
    splits: tuple[str, ...] = ("train", "val", "test"),
    images: bool = True,
    num_scales: int = 1,
) -> None:
    """Checks what a data parser is going to read.

    Args:
        parser: nerfstudio's data-parser config.
        data: folder or file given with --data; None: the parser's own.
        splits: which parts of the scene are needed.
        images: also open every image.
        num_scales: sizes at which every image will be used.

    Raises:
        InputError: naming the file, what was found and what would do.
    """
    data = Path(data if data is not None else parser.data)  # type: ignore[attr-defined]
    if not data.exists():
        raise InputError(f"the scene {data} does not exist. Give its folder with --data.")
    if isinstance(parser, BlenderDataParserConfig):
        if not data.is_dir():
            raise InputError(f"the scene {data} is a file; a Blender scene is a folder.")
        _check_blender(data, splits)
        for split in splits if images else ():  # the parser itself opens the first image of each split
            first = read_transforms(data / f"transforms_{split}.json")["frames"][0]["file_path"]
            _check_opens(data / (first + ".png"))
    if isinstance(parser, NerfstudioDataParserConfig):
        _check_nerfstudio(parser, data, images)
    if isinstance(parser, ColmapDataParserConfig):
        check_colmap(parser, data, images)
    original = parser.data  # type: ignore[attr-defined]
    try:
        parser.data = data  # type: ignore[attr-defined]
        built = parser.setup()
        for split in splits if images else ():
            outputs = built.get_dataparser_outputs(split=split)
            if len(outputs.image_filenames) == 0:
                hint = " Add `--eval-mode all` to evaluate on training images." if hasattr(parser, "eval_mode") else ""
                raise InputError(f"{data}: no images for the {split} split.{hint}")
            check_cameras(outputs)
            if outputs.metadata.get("has_color", True):
                check_images(outputs)
            check_scales(outputs.cameras, num_scales, outputs.image_filenames)
    except InputError:
        raise
    except Exception as error:  # data parsers raise many kinds for damaged data
        name = type(parser).__name__.removesuffix("DataParserConfig")
        raise InputError(f"the {name} parser cannot read {data}: {type(error).__name__}: {error}") from None
    finally:
        parser.data = original  # type: ignore[attr-defined]
