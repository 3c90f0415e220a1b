"""The frames of a depth stream as nerfstudio's dataset: for the viewer's frusta, evaluation and exporters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.utils import colormaps
from PIL import Image

from eugen_fields.data.depth.depth_streams import DepthStream


class DepthStreamDataset(InputDataset):
    """Colour images, or pictures of the depth where the stream has none, with the measured distances.

    A batch of one image has "depth_image": metres along unit rays, 0 where there is none, shape (H, W, 1).
    """

    def __init__(self, dataparser_outputs: DataparserOutputs, stream: DepthStream, scale_factor: float = 1.0) -> None:
        super().__init__(dataparser_outputs, scale_factor)
        self.exclude_batch_keys_from_device = list(self.exclude_batch_keys_from_device)  # data managers edit it
        self.stream = stream
        self.frames: list[int] = dataparser_outputs.metadata["frames"]
        self.metadata = {}  # names and times of all frames: nothing that a batch needs

    def get_numpy_image(self, image_idx: int) -> np.ndarray:
        color = self.stream.color(self.frames[image_idx])
        height, width = int(self.cameras.height[image_idx]), int(self.cameras.width[image_idx])
        if color is not None:  # the cameras have its size, times the scale factor
            image = Image.fromarray(color.numpy())
            return np.array(image.resize((width, height), Image.Resampling.BILINEAR))
        depth = self.stream.depth(self.frames[image_idx])[..., None]
        picture = colormaps.apply_depth_colormap(depth) * (depth > 0)
        picture = F.interpolate(picture.permute(2, 0, 1)[None], (height, width))[0].permute(1, 2, 0)
        return (255.0 * picture).round().to(torch.uint8).numpy()

    def get_metadata(self, data: dict[str, Any]) -> dict[str, Any]:
        frame = self.frames[data["image_idx"]]
        distance = self.stream.depth(frame) * self.stream.directions(frame).norm(dim=-1)
        size = (int(self.cameras.height[data["image_idx"]]), int(self.cameras.width[data["image_idx"]]))
        return {"depth_image": F.interpolate(distance[None, None], size)[0, 0, ..., None]}
