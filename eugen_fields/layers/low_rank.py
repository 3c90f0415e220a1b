"""Low-rank linear layer, the baseline: EUGen with Phi = Psi = identity, order 1 and no norm column."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LowRankLinear(nn.Module):
    """y = B A x + b with A (rank, in_features), B (out_features, rank).

    Shapes: x (..., in_features) to y (..., out_features).

    Args:
        rank: inner width, at least 1.
        bias: add b.
        gain: standard deviation of y over that of x at the start.

    Raises:
        ValueError: rank below 1.
    """

    def __init__(self, in_features: int, out_features: int, *, rank: int, bias: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank is {rank}; a low-rank layer needs a rank of at least 1")
        self.in_features = in_features
        self.out_features = out_features
        self.rank = rank
        self.down = nn.Parameter(torch.randn(rank, in_features) / math.sqrt(in_features))
        self.up = nn.Parameter(torch.randn(out_features, rank) * (gain / math.sqrt(rank)))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.down), self.up, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, rank={self.rank}"
