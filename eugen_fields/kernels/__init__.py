"""Fast paths: folded networks in tiles on a CPU, and whole fields, or blocks of networks, as one CUDA kernel each.

Kernels are written in Triton, which is imported when the first one is built. The references are the plain torch
modules in layers and fields.
"""

from eugen_fields.kernels.distance import FusedDistance, distance_training_reason
from eugen_fields.kernels.field import FusedField, fused_reason
from eugen_fields.kernels.mlp import FusedMLP
from eugen_fields.kernels.select import (
    Backend,
    fused_distance_training,
    fused_field,
    fused_training,
    tiny_cuda_encoding,
    tiny_cuda_network,
)
from eugen_fields.kernels.stages.live import training_reason
from eugen_fields.kernels.tiled import DEFAULT_TILE, TiledMLP, tiled
from eugen_fields.kernels.tiny_cuda import TinyCudaMLP, tiny_cuda_reason

__all__ = [
    "DEFAULT_TILE", "Backend", "FusedDistance", "FusedField", "FusedMLP", "TiledMLP", "TinyCudaMLP",
    "distance_training_reason", "fused_distance_training", "fused_field", "fused_reason", "fused_training", "tiled",
    "tiny_cuda_encoding", "tiny_cuda_network", "tiny_cuda_reason", "training_reason",
]  # fmt: skip
