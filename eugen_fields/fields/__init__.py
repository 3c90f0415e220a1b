"""Networks from points to density and colour, or to signed distance, built from eugen_fields.layers.MLP."""

from eugen_fields.fields.base import Field
from eugen_fields.fields.mipnerf import GaussianDensityField, MipNeRFField
from eugen_fields.fields.nerf import NeRFField
from eugen_fields.fields.radiance import RadianceField
from eugen_fields.fields.sdf import SDFField
from eugen_fields.fields.vanilla import VanillaField

__all__ = ["Field", "GaussianDensityField", "MipNeRFField", "NeRFField", "RadianceField", "SDFField", "VanillaField"]
