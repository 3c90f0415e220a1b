"""Fused kernels compared with torch in float64, and figures of the device they run on."""

from eugen_fields.benchmark.kernels.kernels import Kernels

__all__ = ["Kernels"]
