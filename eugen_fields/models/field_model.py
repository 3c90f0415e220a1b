"""What all models of one field share: options, and whole images rendered a chunk of rays at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import torch
import tyro
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.models.base_model import ModelConfig
from torch import Tensor

from eugen_fields.fields import Field
from eugen_fields.models.layer_flags import LayerFlags

Render = Callable[[RayBundle], dict[str, Tensor]]
"""Outputs (rays, channels) of a bundle of rays."""


@dataclass
class FieldModelConfig(LayerFlags, ModelConfig):
    """Options of the layers, and of nerfstudio's models; what our models do not read is hidden from --help."""

    enable_collider: Annotated[bool, tyro.conf.Suppress] = False
    """Not used: the box of the field bounds rays."""
    collider_params: Annotated[dict[str, float] | None, tyro.conf.Suppress] = None
    """Not used."""
    loss_coefficients: Annotated[dict[str, float], tyro.conf.Suppress] = field(default_factory=dict)
    """Not used: each loss has an option of its own."""
    prompt: Annotated[str | None, tyro.conf.Suppress] = None
    """Not used."""
    eval_num_rays_per_chunk: int = 4096
    """Rays rendered at once in evaluation."""

    def build_field(self, aabb: Tensor, num_images: int = 1) -> Field:
        """The untrained field on a scene box, shape (2, 3), for this many training images. Raises ValueError where a
        flag is out of range."""
        raise NotImplementedError

    def build_networks(self, aabb: Tensor, num_images: int = 1) -> dict[str, Field]:
        """All untrained networks, by the names of the model's `networks()`. Arguments and errors as of build_field."""
        return {"field": self.build_field(aabb, num_images)}


def render_in_chunks(camera_rays: RayBundle, render: Render, num_rays: int, device: torch.device) -> dict[str, Tensor]:
    """Outputs (H, W, channels) of a camera's rays (H, W), rendered on a device and brought back to that of the rays.

    Args:
        num_rays: the most rays rendered at once.
    """
    chunks = []
    for start in range(0, len(camera_rays), num_rays):
        outputs = render(camera_rays.get_row_major_sliced_ray_bundle(start, start + num_rays).to(device))
        chunks.append({name: value.to(camera_rays.directions.device) for name, value in outputs.items()})
    height, width = camera_rays.origins.shape[:2]
    return {name: torch.cat([chunk[name] for chunk in chunks]).view(height, width, -1) for name in chunks[0]}
