"""Frames and steps, timed side by side."""

from eugen_fields.benchmark.speed.isdf_speed import ISDFSpeed
from eugen_fields.benchmark.speed.render import Render

__all__ = ["ISDFSpeed", "Render"]
