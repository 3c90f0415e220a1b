"""Images of any sizes as one list of pixels, and fair draws from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from nerfstudio.data.pixel_samplers import PixelSampler
from torch import Tensor

from eugen_fields.errors import InputError

_MARGIN = 2
"""Pixels about visible ones that count as foreground: they show where the object ends."""


def pack_pixels(
    images: Iterable[dict[str, Any]], ignore_mask: bool = False, patch_size: int = 1, num_pixels: int | None = None
) -> dict[str, Tensor]:
    """Collates images, which may differ in size, into tensors that move between devices.

    nerfstudio's own variable_res_collate makes lists, which stay on the CPU whatever images_on_gpu says, and whose
    masks its pixel sampler cannot read.

    Args:
        images: of a dataset: "image" (height, width, channels), uint8 or floats, "image_idx", "mask"
            (height, width, 1), "scale" and "row_area" (height,) where there is one. They are taken one after the other,
            and none is kept.
        ignore_mask: draw pixels outside of masks as well.
        patch_size: side of the squares that will be drawn. What is said of pixels to draw from then means their upper
            left corners, and the squares lie in the image and show nothing that is masked out.
        num_pixels: of all images together. Known beforehand, memory is needed for one copy of the pixels alone.

    Returns:
        "image": the pixels of all images, row by row, (pixels, channels); and for each image "image_idx", "width",
        "first_pixel", "num_valid", the number of pixels to draw from, and "share", the relative number of draws.
        Where a pixel is masked out, "valid": those to draw from, int32 offsets within their image, image by image,
        and for each image "first_valid". Of images with alpha, "foreground": like "valid", the pixels to draw from that
        are not transparent or within two pixels of one that is not; and for each image "num_foreground",
        "first_foreground" and "foreground_share".

    Raises:
        InputError: nothing to draw from, or images some of which have alpha.
    """
    if num_pixels is None:
        images = list(images)
        num_pixels = sum(item["image"].shape[0] * item["image"].shape[1] for item in images)
    pixels = torch.empty(0)
    facts: list[_ImageFacts] = []
    first = 0
    for item in images:
        image = item["image"]
        if not facts:
            pixels = image.new_empty(num_pixels, image.shape[-1])
        elif image.shape[-1] != pixels.shape[-1]:
            raise InputError("some images have an alpha channel and others have none; save all of them in one way.")
        facts.append(_image_facts(item, ignore_mask, patch_size))
        pixels[first : first + facts[-1].pixels] = image.flatten(0, 1)
        first += facts[-1].pixels
    counts = torch.tensor([image.pixels for image in facts])
    weights = 4.0 ** torch.tensor([image.scale for image in facts])
    packed = {
        "image": pixels[:first],
        "image_idx": torch.tensor([image.index for image in facts]),
        "width": torch.tensor([image.width for image in facts]),
        "first_pixel": counts.cumsum(0) - counts,
        "num_valid": counts,
    }
    if any(image.valid is not None for image in facts):
        valid = [
            torch.arange(image.pixels, dtype=torch.int32) if image.valid is None else image.valid for image in facts
        ]
        num_valid = torch.tensor([len(offsets) for offsets in valid])
        packed |= {"valid": torch.cat(valid), "num_valid": num_valid, "first_valid": num_valid.cumsum(0) - num_valid}
    packed["share"] = packed["num_valid"] * weights
    shown = [image.foreground for image in facts if image.foreground is not None]
    if shown:
        num_shown = torch.tensor([len(offsets) for offsets in shown])
        packed |= {"foreground": torch.cat(shown), "num_foreground": num_shown}
        packed |= {"first_foreground": num_shown.cumsum(0) - num_shown, "foreground_share": num_shown * weights}
    if any(image.row_area is not None for image in facts):
        rows = torch.tensor([image.pixels // image.width for image in facts])
        areas = [
            torch.ones(image.pixels // image.width) if image.row_area is None else image.row_area for image in facts
        ]
        packed |= {"row_area": torch.cat(areas), "first_row": rows.cumsum(0) - rows}
    if not packed["share"].any():
        raise InputError("every pixel of every image is masked out. Masks are black where a pixel must not be used.")
    return packed


@dataclass
class _ImageFacts:
    """What packing remembers of an image beside its pixels."""

    index: int
    width: int
    pixels: int
    scale: int
    row_area: Tensor | None
    valid: Tensor | None
    """Offsets of the pixels to draw from, int32; None: all of them."""
    foreground: Tensor | None
    """Offsets of those of them that are near visible ones, int32; None for images without alpha."""


def _image_facts(item: dict[str, Any], ignore_mask: bool, patch_size: int) -> _ImageFacts:
    image, area = item["image"], item.get("row_area")
    height, width = image.shape[:2]
    mask = _on_sphere(image, None if ignore_mask else item.get("mask"), area)
    if patch_size > 1:
        mask = _corners(image, mask, patch_size)
    valid = None if mask is None or bool(mask.all()) else mask.flatten().nonzero()[:, 0].int()
    foreground = _foreground(image, mask) if image.shape[-1] == 4 else None
    return _ImageFacts(item["image_idx"], width, height * width, item.get("scale", 0), area, valid, foreground)


def _on_sphere(image: Tensor, mask: Tensor | None, row_area: Tensor | None) -> Tensor | None:
    """A mask without the rows of a spherical image that are beyond its poles."""
    if row_area is None or bool((row_area > 0).all()):
        return mask
    inside = (row_area > 0)[:, None, None].expand(*image.shape[:2], 1)
    return inside if mask is None else mask & inside


def _corners(image: Tensor, mask: Tensor | None, patch_size: int) -> Tensor:
    """Where the upper left corners of square patches may be, bool (height, width, 1)."""
    height, width = image.shape[:2]
    if min(height, width) < patch_size:
        raise InputError(
            f"--pipeline.datamanager.patch-size {patch_size} is larger than an image of {width}x{height} pixels."
        )
    invalid = torch.zeros(height, width) if mask is None else (~mask[..., 0]).float().cpu()
    whole = F.max_pool2d(invalid[None, None], patch_size, stride=1)[0, 0] == 0
    return F.pad(whole, (0, patch_size - 1, 0, patch_size - 1))[..., None]


def _foreground(image: Tensor, mask: Tensor | None) -> Tensor:
    """Offsets, int32, of the pixels of an RGBA image that are visible or near to visible ones, and not masked out."""
    visible = (image[..., 3] > 0).float()[None, None]
    side = 2 * _MARGIN + 1
    near = F.max_pool2d(visible, side, stride=1, padding=_MARGIN)[0, 0] > 0
    if mask is not None:
        near = near & mask[..., 0].to(near.device)
    return near.flatten().nonzero()[:, 0].int()


def silhouettes(packed: dict[str, Tensor]) -> list[Tensor] | None:
    """Where each image of pack_pixels may show something, bool (height, width) each: what is not transparent, and what
    is masked out. None for images without alpha."""
    if packed["image"].shape[-1] != 4:
        return None
    visible = packed["image"][:, 3] > 0
    if "valid" in packed:
        known = torch.zeros_like(visible)
        starts = packed["first_pixel"].repeat_interleave(packed["num_valid"])
        known[(starts + packed["valid"]).to(known.device)] = True
        visible = visible | ~known
    counts = torch.diff(packed["first_pixel"].cpu(), append=torch.tensor([len(visible)]))
    parts = visible.split(counts.tolist())
    return [part.view(-1, width) for part, width in zip(parts, packed["width"].tolist())]


class AreaPixelSampler(PixelSampler):
    """Draws the pixels of packed images independently, each with a probability proportional to its area; or square
    patches, by that of their upper left pixel. The pixels of spherical images count by their area on the sphere.

    The area of a pixel at scale l is 4^l pixels of the full-size image. Where all images are of one scale, each pixel
    is as likely as any other, be its image large or small.

    Mip-NeRF (section 4) pools the pixels of all scales, draws them uniformly, and multiplies the loss of each by its
    area: with pixels p of area a_p and loss e_p, of which there are N, its expected loss is sum_p a_p e_p / N. Drawn
    here with probability a_p / sum_q a_q, the plain mean over rays has the expectation sum_p a_p e_p / sum_q a_q: the
    same but for the constant mean area. So every ray has the weight 1, and all scales get equal numbers of rays,
    where Mip-NeRF's draws give 3/4 of the rays to the largest images with small weights and the few rest large ones.

    nerfstudio's own sampler deals rays out image by image in even numbers: with fewer than two rays an image the
    first images never get any, and pixels of small images are drawn more often than those of large ones.

    Attributes:
        least_foreground: share of the rays that meet visible pixels of images with alpha, or their surroundings. Where
            uniform draws give fewer, as for a thin or a distant object, the rest of this share is drawn from those
            pixels; background, of which there is nothing to learn, is seen less.
        patch_size: side of the patches, pixels; that of pack_pixels.
    """

    least_foreground: float = 0.0
    patch_size: int = 1
    _measured: tuple[dict[str, Tensor], float] | None = None

    def sample(self, image_batch: dict[str, Tensor], num_rays: int | None = None) -> dict[str, Tensor]:
        """Pixels "image" (rays, channels), floats, and their "indices" (rays, 3): camera, row, column; in random order,
        so that any part of them is a draw too. Patches come one after the other, each row by row; the number of rays is
        rounded down to a multiple of their pixels.

        Args:
            image_batch: of pack_pixels.
            num_rays: number of pixels; None: num_rays_per_batch.
        """
        image, num_rays = image_batch["image"], num_rays or self.num_rays_per_batch
        count = max(1, num_rays // self.patch_size**2)
        extra = int(self._extra_share(image_batch) * count)
        kinds = (("valid", "share", count - extra), ("foreground", "foreground_share", extra))
        draws = [_draw_by_area(image_batch, *kind) for kind in kinds if kind[-1] > 0]
        choice, offsets = (torch.cat(parts) for parts in zip(*draws))
        if len(draws) > 1:
            order = torch.randperm(count, device=choice.device)
            choice, offsets = choice[order], offsets[order]
        width = image_batch["width"][choice]
        if self.patch_size > 1:
            steps = torch.arange(self.patch_size, device=offsets.device)
            inside = steps[:, None] * width[:, None, None] + steps  # rows below and columns right of the corner
            offsets = (offsets[:, None, None] + inside).flatten()
            choice, width = (values.repeat_interleave(self.patch_size**2) for values in (choice, width))
        places = (image_batch["first_pixel"][choice] + offsets).to(image.device)
        indices = torch.stack([image_batch["image_idx"][choice], offsets // width, offsets % width], dim=-1)
        return {"image": _as_floats(image[places]), "indices": indices.to(image.device)}

    def _extra_share(self, image_batch: dict[str, Tensor]) -> float:
        """Share of the rays to draw from foreground, so that with the uniform ones it has the least share."""
        if self.least_foreground <= 0.0 or "foreground" not in image_batch:
            return 0.0
        if self._measured is None or self._measured[0] is not image_batch:  # once a batch: CUDA would wait each time
            share = float(image_batch["foreground_share"].sum() / image_batch["share"].sum())
            self._measured = image_batch, share
        natural = self._measured[1]
        if natural == 0.0 or natural >= self.least_foreground:
            return 0.0
        return (self.least_foreground - natural) / (1.0 - natural)


def _as_floats(colors: Tensor) -> Tensor:
    """Colours from 0 to 1 of those in 8 bits; others are left alone."""
    return colors.float() / 255.0 if colors.dtype == torch.uint8 else colors


def _draw_by_area(image_batch: dict[str, Tensor], name: str, share: str, count: int) -> tuple[Tensor, Tensor]:
    """As _draw; pixels of spherical images are drawn uniformly and kept with the probability of their row's area."""
    if "row_area" not in image_batch:
        return _draw(image_batch, name, share, count)
    kept: list[tuple[Tensor, Tensor]] = []
    missing = count
    while missing > 0:
        choice, offsets = _draw(image_batch, name, share, 2 * missing)
        rows = image_batch["first_row"][choice] + offsets // image_batch["width"][choice]
        chosen = (torch.rand(len(rows), device=rows.device) < image_batch["row_area"][rows]).nonzero()[:missing, 0]
        kept.append((choice[chosen], offsets[chosen]))
        missing -= len(chosen)
    choice, offsets = (torch.cat(parts) for parts in zip(*kept))
    return choice, offsets


def _draw(image_batch: dict[str, Tensor], name: str, share: str, count: int) -> tuple[Tensor, Tensor]:
    """Images, and offsets of pixels in them, of `count` uniform draws from the pixels of a name; shapes (count,)."""
    choice = torch.multinomial(image_batch[share], count, replacement=True)
    large = torch.randint(1 << 62, choice.shape, device=choice.device)  # floats do not reach all of many pixels
    offsets = large % image_batch[f"num_{name}"][choice]
    if name in image_batch:
        offsets = image_batch[name][image_batch[f"first_{name}"][choice] + offsets].long()
    return choice, offsets
