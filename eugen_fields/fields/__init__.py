"""Networks from points to density and colour, built from eugen_fields.layers.MLP."""

from eugen_fields.fields.nerf import NeRFField
from eugen_fields.fields.vanilla import VanillaField

RadianceField = NeRFField | VanillaField
"""What the models render: a field with `density`, `color`, `encode`, `folded`, a `trunk` and an `aabb`."""

__all__ = ["NeRFField", "RadianceField", "VanillaField"]
