"""Networks from points to density and colour, or to signed distance, built from eugen_fields.layers.MLP."""

from eugen_fields.fields.base import Field
from eugen_fields.fields.cones import ConeField, ConeRadianceField
from eugen_fields.fields.mipnerf import GaussianDensityField, MipNeRFField
from eugen_fields.fields.nerf import NeRFField
from eugen_fields.fields.planes import PlaneDensityField, PlaneField
from eugen_fields.fields.radiance import RadianceField
from eugen_fields.fields.sdf import SDFField
from eugen_fields.fields.vanilla import VanillaField

__all__ = [
    "ConeField",
    "ConeRadianceField",
    "Field",
    "GaussianDensityField",
    "MipNeRFField",
    "NeRFField",
    "PlaneDensityField",
    "PlaneField",
    "RadianceField",
    "SDFField",
    "VanillaField",
]
