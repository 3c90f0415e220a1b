"""PRP layers ("Element-wise Modulation of Random Matrices for Efficient Neural Layers", Szorc, arXiv 2512.13480)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.hadamard import fast_product_pays, hadamard_product
from eugen_fields.layers.layer import LayerStage, LinearLayer, affine
from eugen_fields.layers.low_rank import reduced_rank, set_factors
from eugen_fields.layers.random_matrices import hadamard_parts, normal, prp_matrix, resolve_seed
from eugen_fields.layers.seeded import SeededMatrix


class PRPLinear(SeededMatrix, LinearLayer):
    """y = P^T (x * alpha) * w + b (+ B A x): a fixed random matrix P between two trained element-wise scales.

    Shapes: x (..., in_features) to y (..., out_features). Trainable: alpha (d,), w and b (l,), and with rank r > 0 the
    low-rank term A (r, d), B (l, r) (an addition of this library). P (d, l) is drawn from `seed`, never trained and
    never stored; the state dict keeps the seed.

    Args:
        in_features: d.
        out_features: l.
        matrix: gaussian, ternary, orthogonal or hadamard, all with entries of variance 1 / d. Large hadamard matrices
            (hadamard.fast_product_pays) are multiplied by a fast transform.
        rank: r of the low-rank term; B starts at zero.
        bias: add b.
        seed: integer for P and the initial scales; None draws one from torch's global generator.
        gain: mean of alpha at the start; sqrt(2) keeps the variance through a following relu.

    Raises:
        ValueError: a size or a name outside what is offered.
    """

    solver = "alternating least squares"

    projection: Tensor
    hadamard_order: Tensor
    hadamard_signs: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        matrix: str = "orthogonal",
        rank: int = 0,
        bias: bool = True,
        seed: int | None = 0,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        if in_features <= 0 or out_features <= 0:
            raise ValueError(f"sizes are {in_features} and {out_features}; both must be positive integers")
        if rank < 0:
            raise ValueError(f"rank is {rank}; it must be 0 (no low-rank term) or more")
        self.in_features = in_features
        self.out_features = out_features
        self.matrix = matrix
        self.rank = rank
        seed = resolve_seed(seed)
        self._register_seeded("projection", seed)
        self._fast = matrix == "hadamard" and fast_product_pays(out_features, in_features)
        if self._fast:
            self._register_seeded("hadamard_order", seed, "_draw_order")
            self._register_seeded("hadamard_signs", seed, "_draw_signs")
        dtype = torch.get_default_dtype()
        spread = 1.0 / math.sqrt(in_features)
        self.alpha = nn.Parameter((gain * (1.0 + spread * normal(in_features, seed, stream=1 << 20))).to(dtype))
        self.scale = nn.Parameter((1.0 + spread * normal(out_features, seed, stream=(1 << 20) + 1)).to(dtype))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        if rank > 0:
            down = normal(rank * in_features, seed, stream=(1 << 20) + 2).view(rank, in_features) * spread
            self.down = nn.Parameter(down.to(dtype))
            self.up = nn.Parameter(torch.zeros(out_features, rank))

    def _draw(self, seed: int) -> Tensor:
        return prp_matrix(self.matrix, self.in_features, self.out_features, seed)

    def _draw_order(self, seed: int) -> Tensor:
        return hadamard_parts(self.out_features, self.in_features, seed)[0]

    def _draw_signs(self, seed: int) -> Tensor:
        return hadamard_parts(self.out_features, self.in_features, seed)[1] / math.sqrt(self.in_features)

    def _project(self, x: Tensor) -> Tensor:
        """P^T x, shape (..., out_features)."""
        if self._fast:
            return hadamard_product(x, self.hadamard_order, self.hadamard_signs)
        return F.linear(x, self.projection)

    def effective_weight(self) -> Tensor:
        """diag(w) P^T diag(alpha) + B A, shape (out_features, in_features): the dense matrix this layer equals."""
        weight = self.scale[:, None] * self.projection * self.alpha
        return weight + self.up @ self.down if self.rank > 0 else weight

    def forward(self, x: Tensor) -> Tensor:
        y = self._project(x * self.alpha) * self.scale
        if self.bias is not None:
            y = y + self.bias
        if self.rank > 0:
            y = y + F.linear(F.linear(x, self.down), self.up)
        return y

    def stages(self) -> tuple[LayerStage, ...]:
        names = ("scale", "seed", "alpha") + (("up", "down") if self.rank > 0 else ())
        return (LayerStage(affine(self.effective_weight(), self.bias, names)),)

    def multiplications(self) -> int:
        """Those of P as if it were written out, and of the low-rank term."""
        low_rank = self.up.numel() + self.down.numel() if self.rank > 0 else 0
        return self.projection.numel() + low_rank

    def fit(self, weight: Tensor, covariance: Tensor, cross: Tensor, ridge: float, rounds: int = 100) -> Tensor:
        """Alternating least squares for scale w, alpha and the low-rank term B A, each step the exact minimum over one
        of them.

        With C = cov(x), D = cov(x, z) - C (B A)^T and a = alpha: w_l = (P^T a D)_ll / (P^T a C a P)_ll, then
        (P diag(w^2) P^T * C) a = sum_l w_l P_l D_l, then B A is the reduced-rank fit to what diag(w) P^T diag(a)
        leaves.

        Args:
            rounds: at most; no more follow one that changes the effective weight by less than 1e-7 of it.
        """
        matrix = self.projection.to(weight)
        alpha, low_rank = self.alpha.detach().to(weight), torch.zeros_like(weight)
        effective = torch.zeros_like(weight)
        for _ in range(rounds):
            left = cross.T - low_rank @ covariance
            mixed = matrix * alpha
            variance = ((mixed @ covariance) * mixed).sum(dim=1)
            scale = (mixed * left).sum(dim=1) / (variance + ridge * variance.mean()).clamp(min=1e-300)
            normal = (matrix.T @ (scale.square()[:, None] * matrix)) * covariance
            normal.diagonal().add_(max(ridge, 1e-12) * float(torch.diagonal(normal).mean()))
            alpha = torch.linalg.solve(normal, (scale[:, None] * matrix * left).sum(dim=0))
            modulated = scale[:, None] * matrix * alpha
            if self.rank > 0:
                up, down = reduced_rank(weight - modulated, covariance, self.rank)
                low_rank = up @ down
                set_factors(self.up, self.down, up, down)
            before, effective = effective, modulated + low_rank
            if float((effective - before).norm()) <= 1e-7 * float(effective.norm()):
                break
        with torch.no_grad():
            self.alpha.copy_(alpha)
            self.scale.copy_(scale)
        return effective

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, matrix={self.matrix}, rank={self.rank}"
