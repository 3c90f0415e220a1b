"""Checks of a scene on disk that run before any training, so that bad input gives one clear message."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig, DataparserOutputs
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.instant_ngp_dataparser import InstantNGPDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from tqdm import tqdm

from eugen_fields.data.cameras.intrinsics import TRAINABLE
from eugen_fields.data.cameras.poses import read_pose
from eugen_fields.data.colmap import check_colmap
from eugen_fields.data.images import Size, check_image, read_mask, size_for_camera, stands_sideways
from eugen_fields.data.multiscale import check_scales
from eugen_fields.data.parsers.choose import set_up_parser
from eugen_fields.data.scenes.notes import tell
from eugen_fields.data.scenes.splits import blender_file
from eugen_fields.errors import InputError

_PROGRESS_FROM = 200
"""Number of images from which reading them shows a progress bar."""


def _check_blender(data: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        if not blender_file(data, split).exists():
            hint = "A Blender scene has transforms_train.json, transforms_val.json and transforms_test.json."
            if (data / "transforms.json").exists():
                hint = "There is a transforms.json: put `nerfstudio-data` at the end of the command."
            elif (data / "colmap").is_dir() or (data / "sparse").is_dir():
                hint = "There is a COLMAP folder: put `colmap` at the end of the command."
            raise InputError(f"{data} has no transforms_{split}.json. {hint}")


def _check_transforms(data: Path) -> None:
    path = data if data.suffix == ".json" else data / "transforms.json"
    if not path.exists():
        hint = "eugen-photos makes one from photos."
        if (data / "transforms_train.json").exists():
            hint = "There is a transforms_train.json: put `blender-data` at the end of the command."
        elif (data / "colmap").is_dir() or (data / "sparse").is_dir():
            hint = "There is a COLMAP folder: put `colmap` at the end of the command."
        raise InputError(f"{data} has no transforms.json. {hint}")


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
        read_pose(torch.as_tensor(cameras.camera_to_worlds[index]).tolist(), str(path))
        for name, values in numbers.items():
            if not values[index].isfinite().all():
                raise InputError(f"the camera of {path} has {name} {values[index].tolist()}; calibrate it again.")
        for name in ("fx", "fy", "width", "height"):
            value = float(getattr(cameras, name)[index])
            if value <= 0:
                raise InputError(f"the camera of {path} has {name} {value:g}; it must be positive (pixels).")
        for centre, side in (("cx", "width"), ("cy", "height")):
            value, limit = float(getattr(cameras, centre)[index]), int(getattr(cameras, side)[index])
            if not 0 < value < limit:
                raise InputError(
                    f"the camera of {path} has {centre} {value:g}, outside the image of {side} {limit}: its intrinsics "
                    "are of images of another size. Scale them with the images."
                )
        if CameraType(int(cameras.camera_type[index])) not in TRAINABLE:
            name = CameraType(int(cameras.camera_type[index])).name
            raise InputError(f"the camera of {path} is of type {name}, on which nothing can be trained here.")


def check_images(outputs: DataparserOutputs, known: set[Path]) -> tuple[int, int]:
    """Checks that every image and every mask is there, decodes to its end, and has the size that its camera says.

    Args:
        outputs: of the data parser.
        known: images that were checked before and are passed over; those that are checked now are added.

    Returns:
        how many photos are turned upright by their EXIF orientation, and how many have one and are read as stored.

    Raises:
        InputError: naming the first file that does not.
    """
    sizes = zip(outputs.cameras.width.flatten().tolist(), outputs.cameras.height.flatten().tolist())
    masks = outputs.mask_filenames or [None] * len(outputs.image_filenames)

    def check(item: tuple[Path, Path | None, Size]) -> tuple[bool, bool]:
        path, mask_path, wanted = item
        facts = check_image(Path(path))
        turned = stands_sideways(facts, wanted)
        if size_for_camera(facts, wanted) != wanted:
            hint = f" (and an EXIF orientation of {facts.orientation})" if facts.orientation != 1 else ""
            raise InputError(
                f"image {path} has {facts.size[0]}x{facts.size[1]} pixels{hint}, its camera says "
                f"{wanted[0]}x{wanted[1]}. All images of a camera must have one size."
            )
        if mask_path is not None:
            valid = read_mask(Path(mask_path), wanted, facts.orientation if turned else 1)
            if valid.shape[::-1] != wanted:
                raise InputError(
                    f"mask {mask_path} has {valid.shape[1]}x{valid.shape[0]} pixels, its image {path} has "
                    f"{wanted[0]}x{wanted[1]}. A mask has the size of its image."
                )
        return turned, facts.orientation != 1 and not turned

    items = [item for item in zip(outputs.image_filenames, masks, sizes) if Path(item[0]) not in known]
    known.update(Path(item[0]) for item in items)
    missing = [path for path, _, _ in items if not Path(path).exists()]
    if missing:
        raise InputError(
            f"image {missing[0]} does not exist, but the scene's cameras name it ({len(missing)} of {len(items)} are "
            "missing). At least half of the images must be there; the frames of the others are left out."
        )
    with ThreadPoolExecutor() as pool:
        checks = pool.map(check, items)
        bar = tqdm(checks, total=len(items), desc="Checking images", disable=len(items) < _PROGRESS_FROM)
        found = list(bar)
    return sum(turned for turned, _ in found), sum(as_stored for _, as_stored in found)


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
    if isinstance(parser, (NerfstudioDataParserConfig, InstantNGPDataParserConfig)):
        _check_transforms(data)
    if isinstance(parser, ColmapDataParserConfig):
        check_colmap(parser, data, images)
    known: set[Path] = set()
    turned = as_stored = 0
    try:
        built = set_up_parser(dataclasses.replace(parser, data=data))
        for split in splits if images else ():
            outputs = built.get_dataparser_outputs(split=split)
            if len(outputs.image_filenames) == 0:
                hint = " Add `--eval-mode all` to evaluate on training images." if hasattr(parser, "eval_mode") else ""
                raise InputError(f"{data}: no images for the {split} split.{hint}")
            check_cameras(outputs)
            if outputs.metadata.get("has_color", True):
                found = check_images(outputs, known)
                turned, as_stored = turned + found[0], as_stored + found[1]
            check_scales(outputs.cameras, num_scales, outputs.image_filenames)
    except InputError:
        raise
    except Exception as error:  # data parsers raise many kinds for damaged data
        name = type(parser).__name__.removesuffix("DataParserConfig")
        raise InputError(f"the {name} parser cannot read {data}: {type(error).__name__}: {error}") from None
    if turned:
        tell(f"{data}: {turned} images are stored sideways; they are turned upright by their EXIF orientation.")
    if as_stored:
        tell(f"{data}: {as_stored} images have an EXIF orientation; they are read as stored, as COLMAP reads them.")
