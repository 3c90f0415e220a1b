"""Low-rank linear layer, the baseline: EUGen with Phi = Psi = identity, order 1 and no norm column."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.layer import LayerStage, LinearLayer, affine
from eugen_fields.layers.random_matrices import gaussian, resolve_seed


def reduced_rank(weight: Tensor, covariance: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors B (l, r) and A (r, d) of the best stand-in for weight (l, d), for inputs of a covariance (d, d), among
    matrices of rank r, which is `rank` or l where that is less."""
    outputs = weight @ covariance @ weight.T
    directions = torch.linalg.eigh((outputs + outputs.T) / 2.0).eigenvectors[:, -rank:]
    return directions, directions.T @ weight


@torch.no_grad()
def set_factors(up: nn.Parameter, down: nn.Parameter, new_up: Tensor, new_down: Tensor) -> None:
    """Sets B and A. A rank above that of the new ones leaves some of it unused."""
    for parameter, value in ((up, new_up), (down, new_down)):
        parameter.zero_()
        parameter[: value.shape[0], : value.shape[1]].copy_(value)


class LowRankLinear(LinearLayer):
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

    def stages(self) -> tuple[LayerStage, ...]:
        return LayerStage(affine(self.down, None, ("down",))), LayerStage(affine(self.up, self.bias, ("up",)))

    def fit(self, weight: Tensor, covariance: Tensor, cross: Tensor, ridge: float) -> Tensor:
        """Reduced-rank regression (Izenman, 1975): the best map of this rank in the metric of the inputs."""
        up, down = reduced_rank(weight, covariance, self.rank)
        set_factors(self.up, self.down, up, down)
        return up @ down

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, rank={self.rank}"
