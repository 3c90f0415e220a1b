"""Fused fast paths: whole fields, and blocks of their networks, as one kernel each.

Kernels are written in Triton, which is imported when the first one is built. Their references are the plain torch
modules in layers and fields.
"""

from eugen_fields.kernels.fused import FusedField, fused_reason
from eugen_fields.kernels.fused_mlp import FusedMLP
from eugen_fields.kernels.live_stages import training_reason

__all__ = ["FusedField", "FusedMLP", "fused_reason", "training_reason"]
