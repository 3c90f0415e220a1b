"""Images of any sizes as one list of pixels, and fair draws from it."""

from __future__ import annotations

from typing import Any

import torch
from nerfstudio.data.pixel_samplers import PixelSampler
from torch import Tensor

from eugen_fields.errors import InputError


def pack_pixels(images: list[dict[str, Any]], ignore_mask: bool = False) -> dict[str, Tensor]:
    """Collates images, which may differ in size, into tensors that move between devices.

    nerfstudio's own variable_res_collate makes lists, which stay on the CPU whatever images_on_gpu says, and whose
    masks its pixel sampler cannot read.

    Args:
        images: of a dataset: "image" (height, width, channels), "image_idx", "mask" (height, width, 1) and "scale"
            where there is one.
        ignore_mask: draw pixels outside of masks as well.

    Returns:
        "image": the pixels of all images, row by row, (pixels, channels); and for each image "image_idx", "width",
        "first_pixel", "num_valid", the number of pixels to draw from, and "share", the relative number of draws.
        Where a pixel is masked out, "valid": those to draw from, int32 offsets within their image, image by image,
        and for each image "first_valid".

    Raises:
        InputError: nothing to draw from, or images some of which have alpha.
    """
    channels = {item["image"].shape[-1] for item in images}
    if len(channels) > 1:
        raise InputError("some images have an alpha channel and others have none; save all of them in one way.")
    pixels = torch.tensor([item["image"].shape[0] * item["image"].shape[1] for item in images])
    scales = torch.tensor([item.get("scale", 0) for item in images])
    packed = {
        "image": torch.cat([item["image"].flatten(0, 1) for item in images]),
        "image_idx": torch.tensor([item["image_idx"] for item in images]),
        "width": torch.tensor([item["image"].shape[1] for item in images]),
        "first_pixel": pixels.cumsum(0) - pixels,
        "num_valid": pixels,
    }
    masks = [None if ignore_mask else item.get("mask") for item in images]
    if any(mask is not None and not mask.all() for mask in masks):
        valid = [
            torch.arange(int(count), dtype=torch.int32) if mask is None else mask.flatten().nonzero()[:, 0].int()
            for mask, count in zip(masks, pixels)
        ]
        num_valid = torch.tensor([len(offsets) for offsets in valid])
        packed |= {"valid": torch.cat(valid), "num_valid": num_valid, "first_valid": num_valid.cumsum(0) - num_valid}
    packed["share"] = packed["num_valid"] * 4.0**scales
    if not packed["share"].any():
        raise InputError("every pixel of every image is masked out. Masks are black where a pixel must not be used.")
    return packed


class AreaPixelSampler(PixelSampler):
    """Draws the pixels of packed images independently, each with a probability proportional to its area.

    The area of a pixel at scale l is 4^l pixels of the full-size image. Where all images are of one scale, each pixel
    is as likely as any other, be its image large or small.

    Mip-NeRF (section 4) pools the pixels of all scales, draws them uniformly, and multiplies the loss of each by its
    area: with pixels p of area a_p and loss e_p, of which there are N, its expected loss is sum_p a_p e_p / N. Drawn
    here with probability a_p / sum_q a_q, the plain mean over rays has the expectation sum_p a_p e_p / sum_q a_q: the
    same but for the constant mean area. So every ray has the weight 1, and all scales get equal numbers of rays,
    where Mip-NeRF's draws give 3/4 of the rays to the largest images with small weights and the few rest large ones.

    nerfstudio's own sampler deals rays out image by image in even numbers: with fewer than two rays an image the
    first images never get any, and pixels of small images are drawn more often than those of large ones.
    """

    def sample(self, image_batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Pixels "image" (rays, channels) and their "indices" (rays, 3): camera, row, column.

        Args:
            image_batch: of pack_pixels.
        """
        image = image_batch["image"]
        choice = torch.multinomial(image_batch["share"], self.num_rays_per_batch, replacement=True)
        large = torch.randint(1 << 62, choice.shape, device=choice.device)  # floats do not reach all of many pixels
        offsets = large % image_batch["num_valid"][choice]
        if "valid" in image_batch:
            offsets = image_batch["valid"][image_batch["first_valid"][choice] + offsets].long()
        pixels = image_batch["first_pixel"][choice] + offsets
        width = image_batch["width"][choice]
        indices = torch.stack([image_batch["image_idx"][choice], offsets // width, offsets % width], dim=-1)
        return {"image": image[pixels.to(image.device)], "indices": indices.to(image.device)}
