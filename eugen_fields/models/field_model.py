"""Options that all models of one field share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro
from nerfstudio.models.base_model import ModelConfig

from eugen_fields.models.layer_flags import LayerFlags


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
