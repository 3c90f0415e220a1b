"""A layer kind as somebody else would add it: one class and one line. Import it before anything that offers kinds."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.kinds import LAYER_KINDS, LayerKind
from eugen_fields.layers.layer import LayerStage, LinearLayer, affine
from eugen_fields.layers.random_matrices import normal, resolve_seed


class HalfLinear(LinearLayer):
    """y = W x' + b, where x' is the first half of x."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        seed: int | None = None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.half = in_features, out_features, math.ceil(in_features / 2)
        weight = normal(out_features * self.half, resolve_seed(seed)).view(out_features, self.half)
        self.weight = nn.Parameter((weight * gain / math.sqrt(self.half)).float())
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x[..., : self.half], self.weight, self.bias)

    def stages(self) -> tuple[LayerStage, ...]:
        return (LayerStage(affine(self._padded(self.weight), self.bias, ("weight",))),)

    def fit(self, weight: Tensor, covariance: Tensor, cross: Tensor, ridge: float) -> Tensor:
        """The regression on the first half alone."""
        own = covariance[: self.half, : self.half]
        penalty = ridge * own.diagonal().mean() * torch.eye(self.half, dtype=own.dtype)
        found = torch.linalg.solve(own + penalty, cross[: self.half]).T
        with torch.no_grad():
            self.weight.copy_(found)
        return self._padded(found)

    def _padded(self, weight: Tensor) -> Tensor:
        return F.pad(weight, (0, self.in_features - self.half))


LAYER_KINDS["half"] = LayerKind("half", HalfLinear)
