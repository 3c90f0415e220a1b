"""Views of many pixels at a whole fraction of their size, for evaluation."""

from __future__ import annotations

import copy
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor
from torch.utils.data import Dataset

from eugen_fields.data.lens import keep_off_pixel_centres
from eugen_fields.data.multiscale import MultiScaleDataset, area_average, shrink_mask


def whole_factor(width: int, height: int, max_pixels: int) -> int:
    """The smallest whole number by which both sides are divided, rounded down, so that at most max_pixels are left;
    0 pixels: no limit. No side falls below one pixel."""
    if max_pixels <= 0:
        return 1
    factor = 1
    while (width // factor) * (height // factor) > max_pixels and factor < min(width, height):
        factor += 1
    return factor


class ReducedViews(Dataset):
    """The views of a data set, each with at most so many pixels, as loaders of whole views take them.

    Larger images are divided by a whole factor: a pixel is the mean over a square of the image's (colours weighted by
    alpha), what a camera with so many pixels would see, and cameras are reduced with them. Where a side is no multiple
    of the factor, the rest at its right or lower end is left out. Images that are small enough are left alone, and so
    are data sets of several scales, whose scales are what is scored.

    Args:
        dataset: of full views.
        max_pixels: of a view; 0: all pixels of every view.

    Attributes:
        cameras: those of the reduced views.
        factors: by which the sides of each view are divided, int64 (views,).
    """

    def __init__(self, dataset: MultiScaleDataset, max_pixels: int) -> None:
        self.dataset = dataset
        sizes = zip(dataset.cameras.width.flatten().tolist(), dataset.cameras.height.flatten().tolist())
        limit = 0 if len(dataset) > dataset.num_images else max_pixels
        self.factors = torch.tensor([whole_factor(*size, limit) for size in sizes])
        self.cameras = reduced_cameras(dataset.cameras, self.factors)

    def __len__(self) -> int:
        return len(self.factors)

    def __getitem__(self, index: int) -> dict[str, Any]:
        data, factor = self.dataset[index], int(self.factors[index])
        if factor == 1:
            return data
        data = {name: value for name, value in data.items() if name != "row_area"}
        data["image"] = area_average(data["image"], factor)
        if "mask" in data:
            data["mask"] = shrink_mask(data["mask"], factor)
        return data

    def sizes(self) -> dict[str, float]:
        """Mean width and height of the views that are scored, and of the full ones, pixels."""
        cameras = {"scored": self.cameras, "full": self.dataset.cameras}
        return {
            f"{which}_{side}": float(getattr(of_views, side).float().mean())
            for which, of_views in cameras.items()
            for side in ("width", "height")
        }

    def summary(self) -> str:
        """At what size views are scored, in one sentence."""
        scored, full = _size_range(self.cameras), _size_range(self.dataset.cameras)
        if bool((self.factors == 1).all()):
            return f"Scored in full, at {full} pixels."
        factors = " to ".join(map(str, sorted({int(self.factors.min()), int(self.factors.max())})))
        return f"Scored at {scored} pixels: views of {full} are divided by {factors} along each side."


def _size_range(cameras: Cameras) -> str:
    """Width and height of cameras, or of those with the fewest and the most pixels."""
    sizes = zip(cameras.width.flatten().tolist(), cameras.height.flatten().tolist())
    ordered = sorted(set(sizes), key=lambda size: size[0] * size[1])
    return " to ".join(f"{width}x{height}" for width, height in dict.fromkeys((ordered[0], ordered[-1])))


def reduced_cameras(cameras: Cameras, factors: Tensor) -> Cameras:
    """Cameras with 1 / factor of their pixels along each side, rounded down, that see what they saw up to there.

    Args:
        factors: whole numbers, (cameras,). Where all are 1 the cameras themselves are returned.
    """
    if bool((factors == 1).all()):
        return cameras
    cameras, divisor = copy.deepcopy(cameras), factors[:, None].to(cameras.device)
    for name in ("width", "height"):
        setattr(cameras, name, getattr(cameras, name) // divisor)
    for name in ("fx", "fy", "cx", "cy"):
        setattr(cameras, name, getattr(cameras, name) / divisor)
    keep_off_pixel_centres(cameras)
    return cameras
