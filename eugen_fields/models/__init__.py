"""nerfstudio models: field, sampler, losses and outputs."""

from eugen_fields.models.isdf import ISDFModel, ISDFModelConfig
from eugen_fields.models.mipnerf import MipNeRFModel, MipNeRFModelConfig
from eugen_fields.models.nerf import NeRFModel, NeRFModelConfig
from eugen_fields.models.planes import PlanesModel, PlanesModelConfig

__all__ = [
    "ISDFModel",
    "ISDFModelConfig",
    "MipNeRFModel",
    "MipNeRFModelConfig",
    "NeRFModel",
    "NeRFModelConfig",
    "PlanesModel",
    "PlanesModelConfig",
]
