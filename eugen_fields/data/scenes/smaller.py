"""Smaller copies of images, in folders such as images_4: whatever way their sizes were rounded, and made on demand."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from PIL import Image
from tqdm import tqdm

from eugen_fields.data.images import Size, look_at_image, read_image, read_mask, size_for_camera
from eugen_fields.data.scenes.names import FileFinder
from eugen_fields.errors import InputError
from eugen_fields.writing import written_beside

MAX_AUTO_RESOLUTION = 1600
"""Longest side of images, pixels, above which smaller copies are used where they are there (nerfstudio's number)."""

Outputs = TypeVar("Outputs", bound=DataparserOutputs)
Rounding = Literal["floor", "round", "ceil"]
_ROUND = {"floor": math.floor, "round": round, "ceil": math.ceil}
_OWN_FORMATS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}, "TIFF": {}, "BMP": {}}
"""Formats that copies keep, and how they are saved; all others become PNG."""


@dataclass
class SmallerCopies:
    """The folders of copies at 1 / factor of the size.

    Raises:
        InputError: the factor is none.
    """

    folder: Path
    """Folder that the images lie in."""
    base: Path
    """What folders of copies are called, but for _2, _4, ...."""
    factor: int
    """How many times smaller they are; 1: there are none."""
    rounding: Rounding = "floor"
    """How the sizes of copies that are made are rounded."""

    def __post_init__(self) -> None:
        if self.factor < 1 or self.factor != int(self.factor):
            raise InputError(f"--downscale-factor is {self.factor}; it must be a whole number of at least 1.")
        self.factor = int(self.factor)  # ns-render gives floats
        self.copies = self.base.with_name(f"{self.base.name}_{self.factor}")
        self._finder = FileFinder(self.copies)

    def place(self, path: Path) -> Path:
        """Where the copy of an image is, or is to be made."""
        return self._places(path)[0]

    def find(self, path: Path) -> Path | None:
        """The copy of an image, if it is there: at its own path below the folder of copies, or, as nerfstudio has them,
        by its name alone."""
        if self.factor == 1:
            return None
        for place in self._places(path):
            found = place if place.is_file() else self._finder.find(place.relative_to(self.copies).as_posix())
            if found is not None:
                return found
        return None

    def _places(self, path: Path) -> list[Path]:
        if path.is_relative_to(self.copies):
            return [path]
        below = path.relative_to(self.folder) if path.is_relative_to(self.folder) else Path(path.name)
        return [self.copies / below, self.copies / path.name]


def common_folder(paths: Sequence[Path], root: Path) -> Path:
    """The folder right below the root that all files lie in, or the root."""
    first = {
        path.relative_to(root).parts[0] if path.parent != root and path.is_relative_to(root) else "" for path in paths
    }
    return root / first.pop() if len(first) == 1 else root


def usual_factor(side: int) -> int:
    """The smallest power of two that brings a side of images to at most 1600 pixels."""
    factor = 1
    while side / factor > MAX_AUTO_RESOLUTION:
        factor *= 2
    return factor


def automatic_factor(path: Path, copies: SmallerCopies) -> int:
    """The power of two that brings the longest side of an image to at most 1600 pixels, or the largest one below it of
    which there are copies."""
    factor, most = 1, usual_factor(max(look_at_image(path).size))
    while factor < most and replace(copies, factor=2 * factor).find(path) is not None:
        factor *= 2
    return factor


def at_smaller_size(outputs: Outputs, images: SmallerCopies, masks: SmallerCopies | None = None) -> Outputs:
    """The images, masks and cameras of a data parser with smaller copies in place of the images.

    Copies that are not there are made. Where their sizes are rounded, intrinsics are scaled by what the sizes are in
    fact: the whole of an image is in its copy.

    Args:
        outputs: at full size.
        images: where the copies are.
        masks: where those of masks are; None: there are no masks.

    Raises:
        InputError: a copy of another size, or one that cannot be made.
    """
    cameras = outputs.cameras
    full = list(zip(cameras.width.flatten().tolist(), cameras.height.flatten().tolist()))
    originals = [Path(path) for path in outputs.image_filenames]
    paths = _found_or_made(originals, full, images)
    sizes = [_size_of_copy(path, size, images.factor) for path, size in zip(paths, full)]
    mask_paths = None
    if outputs.mask_filenames is not None and masks is not None:
        mask_originals = [Path(path) for path in outputs.mask_filenames]
        mask_paths = _found_or_made(mask_originals, full, masks, sizes)
    return replace(
        outputs,
        image_filenames=paths,
        mask_filenames=mask_paths if mask_paths is not None else outputs.mask_filenames,
        cameras=_resized(cameras, sizes, images.factor),
    )


def _resized(cameras: Cameras, sizes: list[Size], factor: int) -> Cameras:
    """Cameras of images at other sizes."""
    cameras = copy.deepcopy(cameras)
    width, height = torch.tensor(sizes).split(1, dim=1)
    across, down = width / cameras.width, height / cameras.height
    cameras.fx, cameras.cx = cameras.fx * across, cameras.cx * across
    cameras.fy, cameras.cy = cameras.fy * down, cameras.cy * down
    cameras.width, cameras.height = width.to(cameras.width), height.to(cameras.height)
    if cameras.metadata and cameras.metadata.get("fisheye_crop_radius") is not None:
        cameras.metadata["fisheye_crop_radius"] = cameras.metadata["fisheye_crop_radius"] / factor
    return cameras


def _size_of_copy(path: Path, full: Size, factor: int) -> Size:
    """The size of a copy, which must be the full size over the factor, rounded up or down."""
    width, height = full[0] / factor, full[1] / factor
    if not path.exists():  # nor is the image, and nobody asked for it
        return max(1, int(width)), max(1, int(height))
    facts = look_at_image(path)
    for wanted in {(_ROUND[across](width), _ROUND[down](height)) for across in _ROUND for down in _ROUND}:
        size = size_for_camera(facts, wanted)
        if size == wanted:
            return size
    raise InputError(
        f"image {path} has {facts.size[0]}x{facts.size[1]} pixels, but its camera, at {full[0]}x{full[1]}, has "
        f"{width:g}x{height:g} at 1/{factor} of the size. Remove the folder {path.parent}; it is made again."
    )


def _found_or_made(
    originals: list[Path], full: list[Size], copies: SmallerCopies, sizes: list[Size] | None = None
) -> list[Path]:
    """The copies of images, or of masks where `sizes` says how large; those that are not there are made."""
    paths = [copies.find(path) or copies.place(path) for path in originals]
    taken: dict[Path, Path] = {}
    for path, original in zip(paths, originals):
        if taken.setdefault(path, original) != original:
            raise InputError(
                f"{taken[path]} and {original} would both have the smaller copy {path}. Put the copies into folders as "
                f"the images are, or remove {path.parent}; it is made again."
            )
    todo = [index for index, path in enumerate(paths) if not path.is_file() and originals[index].is_file()]

    def make(index: int) -> None:
        if sizes is not None:
            _make_mask(originals[index], paths[index], full[index], sizes[index])
        else:
            _make_image(originals[index], paths[index], full[index], copies)

    with ThreadPoolExecutor() as pool:
        made = pool.map(make, todo)
        for _ in tqdm(made, total=len(todo), desc=f"Making {copies.copies.name}", unit="image", disable=not todo):
            pass
    return paths


def _make_image(original: Path, path: Path, full: Size, copies: SmallerCopies) -> None:
    colors = read_image(original, full)
    rounded = _ROUND[copies.rounding]
    size = max(1, rounded(colors.width / copies.factor)), max(1, rounded(colors.height / copies.factor))
    with Image.open(original) as image:
        name = image.format if image.format in _OWN_FORMATS else "PNG"
    if colors.mode == "RGBA":
        colors, name = colors.convert("RGBa"), name if name != "JPEG" else "PNG"
    colors = colors.resize(size, Image.Resampling.BOX)
    _save(colors.convert("RGBA") if colors.mode == "RGBa" else colors, path, name)


def _make_mask(original: Path, path: Path, full: Size, size: Size) -> None:
    """A mask whose pixels are valid only if all that they cover are."""
    valid = read_mask(original, full)
    if valid.shape[::-1] != full:
        raise InputError(
            f"mask {original} has {valid.shape[1]}x{valid.shape[0]} pixels, its image {full[0]}x{full[1]}. A mask has "
            "the size of its image."
        )
    share = Image.fromarray(valid.astype(np.float32)).resize(size, Image.Resampling.BOX)
    _save(Image.fromarray(((np.asarray(share) > 0.999) * 255).astype(np.uint8)), path, "PNG")


def _save(image: Image.Image, path: Path, name: str) -> None:
    advice = (
        "`--pipeline.datamanager.camera-res-scale-factor 0.5` (or 0.25, ...) in place of --downscale-factor makes "
        "images smaller in memory."
    )
    with written_beside(path, advice=advice) as unfinished:
        image.save(unfinished, name, **_OWN_FORMATS.get(name, {}))
