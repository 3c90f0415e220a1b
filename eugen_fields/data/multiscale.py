"""A scene at several resolutions, made in memory from any data parser's images (Mip-NeRF, section 4)."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from PIL import Image
from torch import Tensor

from eugen_fields.data.images import (
    Size,
    has_transparency,
    look_at_image,
    read_image,
    read_mask,
    stands_sideways,
)
from eugen_fields.data.lens import keep_off_pixel_centres, row_areas, seen_pixels
from eugen_fields.errors import InputError

_NEAREST = Image.Resampling.NEAREST


def check_scales(cameras: Cameras, num_scales: int, names: list[Path]) -> None:
    """Every image halves num_scales - 1 times without a remainder.

    Args:
        cameras: one per image.
        names: the images, for the message.

    Raises:
        InputError: naming the flag, the first image that does not, its size and what would do.
    """
    if num_scales < 1:
        raise InputError(f"--pipeline.datamanager.num-scales is {num_scales}; it must be at least 1.")
    divisor = 2 ** (num_scales - 1)
    for width, height, name in zip(cameras.width.flatten().tolist(), cameras.height.flatten().tolist(), names):
        if width % divisor == 0 and height % divisor == 0:
            continue
        fits = next(scales for scales in range(num_scales - 1, 0, -1) if (width | height) % 2 ** (scales - 1) == 0)
        cropped = f"{width // divisor * divisor}x{height // divisor * divisor}"
        advice = f"Crop the images to {cropped}, or give" if min(width, height) >= divisor else "Give"
        raise InputError(
            f"--pipeline.datamanager.num-scales {num_scales} needs images whose sides divide by {divisor}; image "
            f"{name} has {width}x{height} pixels. {advice} --pipeline.datamanager.num-scales {fits}."
        )


def area_average(image: Tensor, factor: int) -> Tensor:
    """An image (height, width, channels) with each block of factor x factor pixels averaged.

    RGBA images have straight alpha before and after: colours are averaged weighted by alpha, so that those of
    transparent pixels do not bleed in.
    """
    if factor == 1:
        return image
    alpha = image[..., 3:]
    planes = torch.cat([image[..., :3] * alpha, alpha], dim=-1) if alpha.shape[-1] else image
    planes = F.avg_pool2d(planes.permute(2, 0, 1), factor).permute(1, 2, 0)
    if not alpha.shape[-1]:
        return planes
    color, alpha = planes[..., :3], planes[..., 3:]
    return torch.cat([torch.where(alpha > 0, color / alpha, 0.0), alpha], dim=-1)


def shrink_mask(mask: Tensor, factor: int) -> Tensor:
    """A mask, bool (height, width, 1), at 1 / factor of its size: a pixel is valid only if all pixels in it are."""
    invalid = F.max_pool2d((~mask).float().permute(2, 0, 1), factor)
    return (invalid == 0).permute(1, 2, 0)


class MultiScaleDataset(InputDataset):
    """Every image at full size and at 1/2, 1/4, ...: all of them at full size come first, then all at 1/2, and so on.

    Images and masks are read as an image program shows them (data.images). Where some images may be transparent, all
    others count as opaque, with an alpha of 255. Masks hold the pixels that a mask file leaves and that the lens model
    has a ray for.

    Attributes:
        scale_of_image: for each image the scale, 0 for full size, int64 (images * num_scales,). Batches of one image
            have it as "scale".
    """

    def __init__(self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0, num_scales: int = 1) -> None:
        super().__init__(dataparser_outputs, scale_factor)
        self.exclude_batch_keys_from_device = list(self.exclude_batch_keys_from_device)  # data managers edit it
        self.num_images = len(dataparser_outputs.image_filenames)
        names = dataparser_outputs.image_filenames
        check_scales(self.cameras, num_scales, names)
        _to_single_precision(self.cameras)
        self.full_size_cameras = self.cameras
        self.scale_of_image = torch.arange(num_scales).repeat_interleave(self.num_images)
        self.cameras = self.cameras[torch.arange(self.num_images).repeat(num_scales)]
        self.cameras.rescale_output_resolution(0.5**self.scale_of_image)
        keep_off_pixel_centres(self.cameras)
        # ns-render names its images after these
        smaller = [
            name.with_name(f"{name.stem}_{2**scale}{name.suffix}") for scale in range(1, num_scales) for name in names
        ]
        self._dataparser_outputs = replace(dataparser_outputs, image_filenames=[*names, *smaller])

    @property
    def image_filenames(self) -> list[Path]:
        """The file that each image is made from."""
        return self._dataparser_outputs.image_filenames[: self.num_images] * (len(self) // self.num_images)

    @cached_property
    def _some_are_transparent(self) -> bool:
        return any(has_transparency(path) for path in self.image_filenames[: self.num_images])

    def _file_size(self, image_idx: int) -> Size:
        """Width and height of an image of the data parser, before `scale_factor`."""
        cameras = self._dataparser_outputs.cameras
        return int(cameras.width[image_idx]), int(cameras.height[image_idx])

    def get_numpy_image(self, image_idx: int) -> np.ndarray:
        """An image as an image program shows it, uint8 (height, width, 3 or 4), at `scale_factor` of its size.

        Where that makes a whole number of pixels one, a pixel is the mean over them, as at the other scales (colours
        weighted by alpha): what a camera with so many pixels would see. For all other factors it is interpolated.
        """
        image = read_image(self.image_filenames[image_idx], self._file_size(image_idx))
        if image.mode == "RGB" and self._some_are_transparent:
            image.putalpha(255)
        factor = self._whole_factor(image.size)
        if factor is None:
            image = image.resize(self._scaled(image.size), resample=Image.Resampling.BILINEAR)
        elif factor > 1:
            image = image.reduce(factor)
        return np.array(image)

    def get_mask(self, image_idx: int) -> Tensor:
        """The mask of an image as bool (height, width, 1), at `scale_factor` of its size."""
        assert self._dataparser_outputs.mask_filenames is not None
        size = self._file_size(image_idx)
        facts = look_at_image(self.image_filenames[image_idx])
        turned = facts.orientation if stands_sideways(facts, size) else 1
        valid = read_mask(self._dataparser_outputs.mask_filenames[image_idx], size, turned)
        factor = self._whole_factor(size)
        if factor is None:
            resized = Image.fromarray(valid.astype(np.uint8)).resize(self._scaled(size), _NEAREST)
            return torch.from_numpy(np.array(resized)).bool()[..., None]
        return shrink_mask(torch.from_numpy(valid)[..., None], factor)

    def _whole_factor(self, size: Size) -> int | None:
        """How many times smaller images of a size become, where that is a whole number and divides their sides."""
        factor = round(1 / self.scale_factor)
        whole = factor >= 1 and abs(factor * self.scale_factor - 1) < 1e-6 and not any(side % factor for side in size)
        return factor if whole else None

    def _scaled(self, size: Size) -> Size:
        return int(size[0] * self.scale_factor), int(size[1] * self.scale_factor)

    def get_image_float32(self, image_idx: int) -> Tensor:
        scale, source = divmod(image_idx, self.num_images)
        return area_average(super().get_image_float32(source), 2**scale)

    def get_data(self, image_idx: int, image_type: Literal["uint8", "float32"] = "float32") -> dict[str, Any]:
        scale, source = divmod(image_idx, self.num_images)
        image = self.get_image_uint8(source) if image_type == "uint8" else self.get_image_float32(source)
        data: dict[str, Any] = {"image_idx": image_idx, "image": image, "scale": scale}
        areas = row_areas(self.cameras, image_idx)
        if areas is not None:
            data["row_area"] = areas
        if self._dataparser_outputs.mask_filenames is not None:
            data["mask"] = self.get_mask(source)
        seen = seen_pixels(self.full_size_cameras, source)
        if seen is not None:
            data["mask"] = data["mask"] & seen if "mask" in data else seen
        if scale:
            image = area_average(data["image"].float(), 2**scale)
            data["image"] = image.round().to(torch.uint8) if image_type == "uint8" else image
            if "mask" in data:
                data["mask"] = shrink_mask(data["mask"], 2**scale)
        if self.mask_color and "mask" in data:
            data["image"] = _with_mask_color(data["image"], data["mask"], self.mask_color)
        data.update(self.get_metadata(data))
        return data


def _with_mask_color(image: Tensor, mask: Tensor, color: tuple[float, ...]) -> Tensor:
    """An image whose pixels outside of a mask have a colour (0 to 1) of three channels, and are opaque."""
    filled = torch.tensor([*color, 1.0][: image.shape[-1]])
    if image.dtype == torch.uint8:
        filled = (255 * filled).round().to(torch.uint8)
    return torch.where(mask, image, filled)


def _to_single_precision(cameras: Cameras) -> None:
    """Has cameras in float32, in place: ns-render's paths mix those of a file, which may be float64, with its own."""
    for name in ("camera_to_worlds", "fx", "fy", "cx", "cy"):
        setattr(cameras, name, getattr(cameras, name).float())
