"""`instant-ngp-data`: a transforms.json as instant-ngp and its colmap2nerf.py have it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.data.dataparsers.instant_ngp_dataparser import InstantNGP, InstantNGPDataParserConfig
from nerfstudio.data.scene_box import SceneBox

from eugen_fields.data.cameras.intrinsics import read_cameras
from eugen_fields.data.cameras.placing import MOVE, PlacedOutputs, Placement, check_precision, read_applied
from eugen_fields.data.images import look_at_image
from eugen_fields.data.parsers.frames import Frame, cameras_of, poses_of, present, split_indices, warn_of_inverted
from eugen_fields.data.scenes.names import FileFinder
from eugen_fields.data.transforms import find_files, read_transforms, warn_of_unused
from eugen_fields.errors import InputError

_USED = ("aabb_scale", "scale", "offset", "mask_path", "applied_transform", "applied_scale", "from_na", "from_mitsuba")


class InstantNGPParser(InstantNGP):
    """nerfstudio's parser with lenses of every frame, both focal lengths, and the file's own scale and offset.

    instant-ngp maps a place x of the file to scale * x + offset, where its boxes are about (0.5, 0.5, 0.5); nerfstudio
    uses that middle as the origin. The scale is --scene-scale where the file has none.
    """

    def _generate_dataparser_outputs(self, split: str = "train") -> PlacedOutputs:
        path = self.config.data if self.config.data.suffix == ".json" else self.config.data / "transforms.json"
        content = read_transforms(path)
        warn_of_unused(path, content, _USED)
        for name in ("from_na", "from_mitsuba"):
            if content.get(name):
                raise InputError(f'{path}: "{name}" is set: its poses have other axes. Export them for NeRF instead.')
        all_frames = self._frames(path, content)
        frames = present(all_frames, path)
        warn_of_inverted(poses_of(frames), path)
        chosen = [frames[index] for index in split_indices([frame.image for frame in frames], self.config, split)]
        saved, half = self._placement(path, content)
        check_precision(saved.places(poses_of(frames)), path, MOVE)
        return PlacedOutputs(
            image_filenames=[frame.image for frame in chosen],
            cameras=cameras_of(chosen, saved),
            scene_box=SceneBox(aabb=torch.tensor([[-half] * 3, [half] * 3], dtype=torch.float32)),
            mask_filenames=[frame.mask for frame in chosen if frame.mask is not None] or None,
            placement=saved.before(*read_applied(content, str(path))),
        )

    def _frames(self, path: Path, content: dict[str, Any]) -> list[Frame]:
        finder = FileFinder(path.parent, ".png")
        images = [image for image in find_files(path, content, finder) if image is not None]
        first = next((image for image in images if image.is_file()), images[0])
        lenses = read_cameras(path, content, angles=True, image_size=lambda _: image_size(first))
        masks = find_files(path, content, FileFinder(path.parent), "mask_path")
        if any(masks) and not all(masks):
            raise InputError(f'{path}: some frames have a "mask_path" and others none. Give all frames one.')
        return [
            Frame(image, frame["transform_matrix"], lens, mask)
            for image, frame, lens, mask in zip(images, content["frames"], lenses, masks)
        ]

    def _placement(self, path: Path, content: dict[str, Any]) -> tuple[Placement, float]:
        """Where cameras go, and half the side of the scene box."""
        numbers: dict[str, Any] = {name: content.get(name) for name in ("aabb_scale", "scale")}
        for name, value in numbers.items():
            if value is not None and not (_is_number(value) and value > 0):
                raise InputError(f'{path}: "{name}" is {value!r}; it must be a positive number.')
        scale = self.config.scene_scale
        if not (math.isfinite(scale) and scale > 0):
            raise InputError(f"--scene-scale is {scale}; it must be positive.")
        if numbers["scale"] is not None and scale == InstantNGPDataParserConfig.scene_scale:
            scale = float(numbers["scale"])
        offset = content.get("offset", 0.5)
        offset = offset if isinstance(offset, list) else [offset] * 3
        if len(offset) != 3 or not all(map(_is_number, offset)):
            raise InputError(f'{path}: "offset" is {content["offset"]!r}; it must be three numbers.')
        shift = (np.array(offset, dtype=np.float64) - 0.5) / scale
        return Placement(np.column_stack([np.eye(3), shift]), scale), 0.5 * float(numbers["aabb_scale"] or 1.0)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image.

    Raises:
        InputError: there is no such file, or it is no image.
    """
    return look_at_image(path).size
