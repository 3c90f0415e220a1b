"""Linear least squares from a stream of samples: only second moments are kept, never the samples."""

import math

import torch
from torch import Tensor

from eugen_fields.layers.layer import in_double


class NormalEquations:
    """Accumulates the normal equations of y ~ W f + b in float64 and solves them.

    Source: layer-wise knowledge transfer of "EUGens: Efficient, Unified, and General Dense Layers" (Kim et al.,
    arXiv 2410.09771): W = argmin |W F - Y|^2 + ridge |W|^2. The bias is a constant feature without ridge. Memory is
    (features + 1)^2 + (features + 2) * outputs numbers, whatever the number of samples.

    Args:
        num_features: length of f.
        num_outputs: length of y.
        device: where the moments are kept; the CPU in place of one that has no float64.
        bias: False solves y ~ W f instead.
        name: what is fitted, for error messages.
    """

    def __init__(
        self,
        num_features: int,
        num_outputs: int,
        device: torch.device | str = "cpu",
        *,
        bias: bool = True,
        name: str = "the fit",
    ) -> None:
        size, device = num_features + 1, in_double(torch.empty(0, device=device)).device
        self.gram = torch.zeros(size, size, dtype=torch.float64, device=device)
        self.cross = torch.zeros(size, num_outputs, dtype=torch.float64, device=device)
        self.target_squares = torch.zeros(num_outputs, dtype=torch.float64, device=device)
        self.count = 0
        self.bias = bias
        self.name = name

    @property
    def num_features(self) -> int:
        return self.gram.shape[0] - 1

    def add(self, features: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Adds samples: features (N, F), targets (N, outputs), weights (N,) of at least 0 (None: all 1).

        Raises:
            ValueError: a value is NaN or infinite.
        """
        for kind, value in (("features", features), ("targets", targets)):
            if not bool(value.isfinite().all()):
                raise ValueError(f"{kind} of {self.name} hold NaN or infinity; the inputs or the teacher produce them")
        f = in_double(torch.cat([features, features.new_ones(len(features), 1)], dim=1))
        y = in_double(targets)
        weighted = f if weights is None else f * in_double(weights)[:, None]
        self.gram += weighted.T @ f
        self.cross += weighted.T @ y
        self.target_squares += (y.square() if weights is None else y.square() * in_double(weights)[:, None]).sum(dim=0)
        self.count += len(f) if weights is None else int((weights > 0).sum())

    def solve(self, ridge: float = 1e-6) -> tuple[Tensor, Tensor, str]:
        """The minimiser.

        Args:
            ridge: penalty on |W|^2, relative to the sum over the samples of the mean square of the features; 0 for
                none.

        Returns:
            weight (outputs, F) and bias (outputs,), float64, and how they were found: "cholesky", or "pseudo-inverse"
            where the equations are singular.

        Raises:
            ValueError: ridge is negative or not finite, or there are fewer samples of positive weight than unknowns per
                output.
        """
        if not 0.0 <= ridge < math.inf:
            raise ValueError(f"ridge is {ridge}; it must be 0 or more, and finite")
        size = self.num_features + int(self.bias)
        if self.count < size:
            raise ValueError(
                f"{self.name}: {self.count} samples cannot determine {self.num_features} features"
                f"{' and a bias' if self.bias else ''}: give at least {size} (ten times as many is better), or fewer "
                "features"
            )
        penalty = torch.full_like(self.gram[0], ridge * float(torch.diagonal(self.gram)[:-1].mean()))
        penalty[-1] = 0.0
        matrix = (self.gram + torch.diag(penalty))[:size, :size]
        # columns scaled to unit length first: features may differ by many orders of magnitude
        lengths = torch.diagonal(matrix).sqrt()
        scale = torch.where(lengths > 0.0, 1.0 / lengths, 0.0)
        scaled = matrix * scale[:, None] * scale
        right = self.cross[:size] * scale[:, None]
        factor, failed = torch.linalg.cholesky_ex(scaled)
        if int(failed) == 0 and float(torch.diagonal(factor).min()) > 1e-7:
            solution, method = torch.cholesky_solve(right, factor), "cholesky"
        else:
            solution, method = torch.linalg.pinv(scaled, rtol=1e-12, hermitian=True) @ right, "pseudo-inverse"
        solution = solution * scale[:, None]
        bias = solution[-1].clone() if self.bias else torch.zeros_like(self.cross[0])
        return solution[: self.num_features].T.contiguous(), bias, method

    def squared_error(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Sum over the samples of (W f + b - y)^2 for each output, shape (outputs,), float64."""
        solution = torch.cat([in_double(weight), in_double(bias)[:, None]], dim=1).T
        quadratic = (solution * (self.gram @ solution)).sum(dim=0)
        return (quadratic - 2.0 * (solution * self.cross).sum(dim=0) + self.target_squares).clamp(min=0.0)

    def relative_error(self, weight: Tensor, bias: Tensor) -> float:
        """|W f + b - y| over |y - mean y|, both over all samples and outputs: 1 is as good as a constant."""
        spread = float(self.target_variance().sum() * self.gram[-1, -1])
        floor = 1e-12 * float(self.target_squares.sum())  # targets that are constant but for rounding
        return math.sqrt(float(self.squared_error(weight, bias).sum()) / max(spread, floor, 1e-300))

    def target_variance(self) -> Tensor:
        """Variance of every output, shape (outputs,), float64."""
        total = self._total_weight()
        return (self.target_squares / total - (self.cross[-1] / total).square()).clamp(min=0.0)

    def moments(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean of f (F,), mean of y (outputs,), covariance of f (F, F) and of f with y (F, outputs), float64.

        Without a bias the means are taken as 0, so that W stands in the same relation to the covariances.
        """
        total = self._total_weight()
        mean, target_mean = self.gram[-1, :-1] / total, self.cross[-1] / total
        if not self.bias:
            mean, target_mean = torch.zeros_like(mean), torch.zeros_like(target_mean)
        covariance = self.gram[:-1, :-1] / total - mean[:, None] * mean
        return mean, target_mean, covariance, self.cross[:-1] / total - mean[:, None] * target_mean

    def _total_weight(self) -> Tensor:
        if self.count == 0:
            raise ValueError(f"{self.name}: there are no samples of positive weight")
        return self.gram[-1, -1]
