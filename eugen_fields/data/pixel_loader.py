"""The images of a data set as packed pixels in 8 bits, read when they are first asked for."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from nerfstudio.utils.misc import get_dict_to_torch
from torch import Tensor
from tqdm import tqdm

from eugen_fields.data.multiscale import MultiScaleDataset
from eugen_fields.data.pixels import pack_pixels

_PROGRESS_FROM = 200
"""Number of images from which loading them shows a progress bar."""


class PixelLoader:
    """Packed pixels (data.pixels.pack_pixels) of all images, or of some that are drawn anew from time to time.

    It stands where nerfstudio has a CacheDataloader, which holds every image as floats, several times while it packs
    them, and reads all of them whether or not anything is trained. Here a pixel takes a byte per channel, a few images
    beside the packed ones are held at any time, and none is read before the first batch is asked for.

    Args:
        dataset: of images.
        num_images: how many are packed at a time; -1: all.
        num_repeats: batches after which others are drawn, where not all are packed; -1: never.
        device: where the packed tensors go.
        exclude: names of tensors that stay on the CPU.
        ignore_mask, patch_size: as of pack_pixels.
    """

    def __init__(
        self,
        dataset: MultiScaleDataset,
        *,
        num_images: int = -1,
        num_repeats: int = -1,
        device: torch.device | str = "cpu",
        exclude: list[str] | None = None,
        ignore_mask: bool = False,
        patch_size: int = 1,
    ) -> None:
        self.dataset = dataset
        self.has_all = num_images == -1 or num_images >= len(dataset)
        self._num_images = len(dataset) if self.has_all else num_images
        self._num_repeats = -1 if self.has_all else num_repeats
        self._device, self._exclude = device, exclude or []
        self._packing: dict[str, Any] = {"ignore_mask": ignore_mask, "patch_size": patch_size}
        self._batch: dict[str, Tensor] | None = None
        self._uses = 0

    def batch(self) -> dict[str, Tensor]:
        """The packed pixels that are drawn from now; they are read if they have not been.

        Raises:
            InputError: naming an image that cannot be read, or as pack_pixels.
        """
        if self._batch is None:
            self._batch, self._uses = self._read(), 0
        return self._batch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self

    def __next__(self) -> dict[str, Tensor]:
        if self._num_repeats != -1 and self._uses > self._num_repeats:
            self._batch = None
        batch = self.batch()
        self._uses += 1
        return batch

    def _read(self) -> dict[str, Tensor]:
        indices = random.sample(range(len(self.dataset)), k=self._num_images)
        cameras = self.dataset.cameras[torch.tensor(indices)]
        num_pixels = int((cameras.width.long() * cameras.height.long()).sum())
        packed = pack_pixels(self._images(indices), num_pixels=num_pixels, **self._packing)
        return get_dict_to_torch(packed, device=self._device, exclude=self._exclude)  # type: ignore[return-value]

    def _images(self, indices: list[int]) -> Iterator[dict[str, Any]]:
        """Images in 8 bits, in this order; a few are read at once, and none ahead of those."""
        at_once = max(1, min(4, (os.cpu_count() or 1) - 1))
        with (
            ThreadPoolExecutor(at_once) as pool,
            tqdm(total=len(indices), desc="Loading images", disable=len(indices) < _PROGRESS_FROM) as bar,
        ):
            for start in range(0, len(indices), at_once):
                for item in pool.map(self._image, indices[start : start + at_once]):
                    bar.update(1)
                    yield item

    def _image(self, index: int) -> dict[str, Any]:
        return self.dataset.get_data(index, image_type="uint8")
