"""nerfstudio models: field, sampler, losses and outputs."""

from eugen_fields.models.isdf import ISDFModel, ISDFModelConfig
from eugen_fields.models.mipnerf import MipNeRFModel, MipNeRFModelConfig
from eugen_fields.models.nerf import NeRFModel, NeRFModelConfig

__all__ = [
    "ISDFModel",
    "ISDFModelConfig",
    "MipNeRFModel",
    "MipNeRFModelConfig",
    "NeRFModel",
    "NeRFModelConfig",
]
