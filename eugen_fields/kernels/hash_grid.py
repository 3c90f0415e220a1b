"""The hash grid of tiny-cuda-nn in the place of feature planes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from eugen_fields.kernels.tiny_cuda import tinycudann
from eugen_fields.kernels.unsupported import Unsupported

_FEATURES = 2
"""Features of each level, the number for which tiny-cuda-nn is fastest."""


class TinyCudaHashGrid(nn.Module):
    """Positions and features from a multiresolution hash grid, as an encodings.PlaneEncoding gives them.

    Source: "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding" (Mueller et al., 2022). A cone of
    some width reads each level damped as PlaneEncoding does ("Zip-NeRF", Barron et al., 2023, has a similar weight).

    Its parameters are those of tiny-cuda-nn: a run that has them can be opened only where that is installed.

    Args:
        coarsest, finest: cells along each side of the grids of the first and the last level.
        levels: number of grids.
        log2_entries: logarithm of the most entries of a level, whatever its resolution.

    Shapes: positions (N, 3) in [-1, 1] and widths (N,), or None for points, to (N, out_dim).

    Raises:
        Unsupported: tiny-cuda-nn is not there, or no CUDA device for it.
    """

    spacings: Tensor

    def __init__(self, coarsest: int, finest: int, levels: int = 16, log2_entries: int = 19) -> None:
        super().__init__()
        library = tinycudann()
        if not torch.cuda.is_available():
            raise Unsupported("tiny-cuda-nn needs a CUDA device, and torch finds none")
        growth = math.exp(math.log(finest / coarsest) / max(1, levels - 1))
        settings = {
            "otype": "HashGrid",
            "n_levels": levels,
            "n_features_per_level": _FEATURES,
            "log2_hashmap_size": log2_entries,
            "base_resolution": coarsest,
            "per_level_scale": growth,
        }
        self.grid = library.Encoding(3, settings)
        sizes = [coarsest * growth**level for level in range(levels)]
        self.register_buffer("spacings", torch.tensor([2.0 / size for size in sizes]), persistent=False)
        self.out_dim = 3 + _FEATURES * levels

    def forward(self, positions: Tensor, widths: Tensor | None = None) -> Tensor:
        features = self.grid((positions + 1.0) / 2.0)[:, : self.out_dim - 3]  # its cube is [0, 1]^3
        features = features.float()  # it computes in float16, and may fill up rows
        if widths is not None:
            damping = torch.exp(-0.5 * (math.pi * widths.detach()[:, None] / self.spacings) ** 2)
            features = features * damping.repeat_interleave(_FEATURES, dim=1)
        return torch.cat([positions, features], dim=-1)
