"""Checks of a COLMAP model, text or binary, before nerfstudio's parser reads it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.utils import colmap_parsing_utils

from eugen_fields.data.parsers.colmap_model import MODEL_PLACES, model_format, read_scene_model
from eugen_fields.data.scenes.names import FileFinder
from eugen_fields.data.scenes.smaller import usual_factor
from eugen_fields.errors import InputError


def _model_files(parser: ColmapDataParserConfig, data: Path) -> dict[str, Path]:
    """The model's files by what they hold, in the format that nerfstudio will read."""
    folder = data / parser.colmap_path
    if not folder.is_dir():
        places = [place for place in (*MODEL_PLACES, ".") if model_format(data / place)]
        hint = "Run COLMAP on the photos first; or eugen-photos, whose folder is read without `colmap` at the end."
        if places:
            hint = f"There is one in {data / places[0]}: add `--colmap-path {places[0]}` at the end of the command."
        elif (data / "transforms.json").exists():
            hint = "There is a transforms.json: put `nerfstudio-data` at the end of the command."
        raise InputError(f"the COLMAP model {folder} does not exist. {hint}")
    suffix = model_format(folder)
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


def _read_points(path: Path) -> dict[int, Any]:
    kind = "text" if path.suffix == ".txt" else "binary"
    try:
        return getattr(colmap_parsing_utils, f"read_points3D_{kind}")(path)
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
    model = read_scene_model(files["images"].parent)
    if not model.images:
        raise InputError(f"{files['images']} lists no image: COLMAP registered none. Take photos that overlap more.")
    if "points3D" in files and not _read_points(files["points3D"]):
        raise InputError(f"{files['points3D']} holds no points. Add `--load-3D-points False` to do without them.")
    if images:
        sides = [max(lens.width, lens.height) for lens in model.lenses.values()]
        _check_photos(parser, data, [image.name for image in model.images], max(sides))


def _check_photos(parser: ColmapDataParserConfig, data: Path, names: list[str], side: int) -> None:
    folder = data / parser.images_path
    factor = usual_factor(side) if parser.downscale_factor is None else parser.downscale_factor
    smaller = folder.with_name(f"{folder.name}_{factor}")
    if not folder.is_dir() and not (factor > 1 and smaller.is_dir()):
        raise InputError(f"the photos' folder {folder} does not exist. Name it with --images-path, relative to {data}.")
    finders = [FileFinder(folder), *([FileFinder(smaller)] if factor > 1 else [])]
    missing = [name for name in names if all(finder.find(name) is None for finder in finders)]
    if 2 * len(missing) > len(names):
        raise InputError(
            f"{len(missing)} of the model's {len(names)} images are missing from {folder}, the first is {missing[0]}. "
            "Copy them there or name their folder with --images-path."
        )
    if factor > 1 and parser.downscale_factor is None and not smaller.is_dir():
        raise InputError(
            f"the photos have {side} pixels along a side; ones {factor} times smaller would be used, from {smaller}, "
            f"which does not exist. Add `--downscale-factor {factor}` to have them made, or `--downscale-factor 1` to "
            "use the large ones."
        )
