"""Low-rank linear layer, the baseline: EUGen with Phi = Psi = identity, order 1 and no norm column."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.random_matrices import gaussian, resolve_seed


class LowRankLinear(nn.Module):
    """y = B A x + b with A (rank, in_features), B (out_features, rank).

    Shapes: x (..., in_features) to y (..., out_features).

    Args:
        rank: inner width, at least 1.
        bias: add b.
        seed: integer for A and B at the start; None draws one from torch's global generator.
        gain: standard deviation of y over that of x at the start.

    Raises:
        ValueError: rank below 1.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rank: int,
        bias: bool = True,
        seed: int | None = None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank is {rank}; a low-rank layer needs a rank of at least 1")
        self.in_features = in_features
        self.out_features = out_features
        self.rank = rank
        seed = resolve_seed(seed)
        dtype = torch.get_default_dtype()
        self.down = nn.Parameter((gaussian(rank, in_features, seed) / math.sqrt(in_features)).to(dtype))
        self.up = nn.Parameter((gaussian(out_features, rank, seed, stream=1) * (gain / math.sqrt(rank))).to(dtype))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.down), self.up, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, rank={self.rank}"
