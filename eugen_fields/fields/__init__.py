"""Neural fields: points in, density and colour out."""

from eugen_fields.fields.nerf import NeRFField

__all__ = ["NeRFField"]
