"""Checks of a COLMAP model, text or binary, before nerfstudio's parser reads it."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

from nerfstudio.data.dataparsers.colmap_dataparser import MAX_AUTO_RESOLUTION, ColmapDataParserConfig
from nerfstudio.data.utils import colmap_parsing_utils
from nerfstudio.process_data.colmap_utils import parse_colmap_camera_params

from eugen_fields.errors import InputError


def _model_files(parser: ColmapDataParserConfig, data: Path) -> dict[str, Path]:
    """The model's files by what they hold, in the format that nerfstudio will read."""
    folder = data / parser.colmap_path
    if not folder.is_dir():
        places = [place for place in ("colmap/sparse/0", "sparse/0", "sparse", ".") if _format(data / place)]
        hint = "Run COLMAP on the photos first, or ns-process-data, which calls it."
        if places:
            hint = f"There is one in {data / places[0]}: add `--colmap-path {places[0]}` at the end of the command."
        elif (data / "transforms.json").exists():
            hint = "There is a transforms.json: put `nerfstudio-data` at the end of the command."
        raise InputError(f"the COLMAP model {folder} does not exist. {hint}")
    suffix = _format(folder)
    if suffix is None:
        raise InputError(f"{folder} holds neither cameras.txt nor cameras.bin; a COLMAP model has one of them.")
    files = {name: folder / f"{name}{suffix}" for name in ("cameras", "images")}
    if not files["images"].exists():
        raise InputError(f"{folder} has {files['cameras'].name} but no {files['images'].name}; a model needs both.")
    if parser.load_3D_points:
        found = [folder / f"points3D{ending}" for ending in (".bin", ".txt") if (folder / f"points3D{ending}").exists()]
        if not found:
            raise InputError(f"{folder} has no points3D.bin or points3D.txt. Add `--load-3D-points False`.")
        files["points3D"] = found[0]
    return files


def _format(folder: Path) -> str | None:
    return next((suffix for suffix in (".txt", ".bin") if (folder / f"cameras{suffix}").is_file()), None)


def _read(name: str, path: Path) -> dict[int, Any]:
    kind = "text" if path.suffix == ".txt" else "binary"
    try:
        return getattr(colmap_parsing_utils, f"read_{name}_{kind}")(path)
    except (OSError, ValueError, IndexError, KeyError, AssertionError, struct.error) as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}: {error}). Export the model again.") from None


def check_colmap(parser: ColmapDataParserConfig, data: Path, images: bool) -> None:
    """A COLMAP model is complete, is not empty, has cameras that nerfstudio knows, and its photos are there.

    Args:
        parser: nerfstudio's data-parser config.
        data: the scene's folder.
        images: also look for the photos.

    Raises:
        InputError: naming the file, what was found and what would do.
    """
    files = _model_files(parser, data)
    content = {name: _read(name, path) for name, path in files.items()}
    cameras, photos = content["cameras"], content["images"]
    if not photos:
        raise InputError(f"{files['images']} lists no image: COLMAP registered none. Take photos that overlap more.")
    if "points3D" in content and not content["points3D"]:
        raise InputError(f"{files['points3D']} holds no points. Add `--load-3D-points False` to do without them.")
    for camera_id, camera in cameras.items():
        try:
            parse_colmap_camera_params(camera)
        except (NotImplementedError, IndexError) as error:
            raise InputError(
                f"{files['cameras']}: camera {camera_id} has the model {camera.model} with {len(camera.params)} "
                f"parameters, which nerfstudio does not read ({error}). Run COLMAP with "
                "`--ImageReader.camera_model OPENCV` or OPENCV_FISHEYE, or undistort the images."
            ) from None
    for photo in photos.values():
        if photo.camera_id not in cameras:
            raise InputError(
                f"{files['images']}: {photo.name} has camera {photo.camera_id}, but {files['cameras']} has none of "
                "that number. Export the model again."
            )
    if images:
        _check_photos(parser, data, [photo.name for photo in photos.values()], cameras)


def _check_photos(parser: ColmapDataParserConfig, data: Path, names: list[str], cameras: dict[int, Any]) -> None:
    folder = data / parser.images_path
    if not folder.is_dir():
        raise InputError(f"the photos' folder {folder} does not exist. Name it with --images-path, relative to {data}.")
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise InputError(
            f"{len(missing)} of the model's {len(names)} images are missing from {folder}, the first is {missing[0]}. "
            "Copy them there or name their folder with --images-path."
        )
    side = max(max(camera.width, camera.height) for camera in cameras.values())
    factor = parser.downscale_factor
    if factor is None:
        factor = 1
        while side / factor > MAX_AUTO_RESOLUTION:
            factor *= 2
    smaller = folder.with_name(f"{folder.name}_{factor}")
    if factor > 1 and not smaller.is_dir() and not sys.stdin.isatty():  # otherwise nerfstudio offers to make them
        raise InputError(
            f"the photos have {side} pixels along a side and nerfstudio would use ones {factor} times smaller, from "
            f"{smaller}, which does not exist. Add `--downscale-factor 1` to use the large ones."
        )
