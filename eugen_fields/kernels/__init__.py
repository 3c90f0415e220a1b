"""Fast paths: folded networks in tiles on a CPU, and whole fields, or blocks of networks, as one CUDA kernel each.

Kernels are written in Triton, which is imported when the first one is built. The references are the plain torch
modules in layers and fields. README.md shows a generated kernel beside its torch module.
"""

from eugen_fields.kernels.distance import FusedDistance
from eugen_fields.kernels.evaluator import NetworkEvaluator
from eugen_fields.kernels.field import FusedField
from eugen_fields.kernels.hash_grid import TinyCudaHashGrid
from eugen_fields.kernels.mlp import FusedMLP
from eugen_fields.kernels.select import Backend
from eugen_fields.kernels.tiled import DEFAULT_TILE, TiledMLP, tiled
from eugen_fields.kernels.tiny_cuda import TinyCudaMLP
from eugen_fields.kernels.unsupported import Unsupported

__all__ = [
    "DEFAULT_TILE",
    "Backend",
    "FusedDistance",
    "FusedField",
    "FusedMLP",
    "NetworkEvaluator",
    "TiledMLP",
    "TinyCudaHashGrid",
    "TinyCudaMLP",
    "Unsupported",
    "tiled",
]
