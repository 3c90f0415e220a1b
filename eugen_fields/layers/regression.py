"""Linear least squares from a stream of samples: only second moments are kept, never the samples."""

import torch
from torch import Tensor


class NormalEquations:
    """Accumulates the normal equations of y ~ W f + b in float64 and solves them.

    Source: layer-wise knowledge transfer of "EUGens: Efficient, Unified, and General Dense Layers" (Kim et al.,
    arXiv 2410.09771): W = argmin |W F - Y|^2 + ridge |W|^2. The bias is a constant feature without ridge. Memory is
    (features + 1)^2 + (features + 1) * outputs numbers, whatever the number of samples.

    Args:
        num_features: length of f.
        num_outputs: length of y.
        device: where the moments are kept.
    """

    def __init__(self, num_features: int, num_outputs: int, device: torch.device | str = "cpu") -> None:
        size = num_features + 1
        self.gram = torch.zeros(size, size, dtype=torch.float64, device=device)
        self.cross = torch.zeros(size, num_outputs, dtype=torch.float64, device=device)
        self.target_squares = torch.zeros(num_outputs, dtype=torch.float64, device=device)
        self.count = 0

    @property
    def num_features(self) -> int:
        return self.gram.shape[0] - 1

    def add(self, features: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Adds samples: features (N, F), targets (N, outputs), weights (N,) of at least 0 (None: all 1).

        Raises:
            ValueError: a value is NaN or infinite.
        """
        for name, value in (("features", features), ("targets", targets)):
            if not bool(value.isfinite().all()):
                raise ValueError(f"{name} of the fit hold NaN or infinity; the inputs or the teacher produce them")
        f = torch.cat([features, features.new_ones(len(features), 1)], dim=1).double()
        y = targets.double()
        weighted = f if weights is None else f * weights.double()[:, None]
        self.gram += weighted.T @ f
        self.cross += weighted.T @ y
        self.target_squares += (y.square() if weights is None else y.square() * weights.double()[:, None]).sum(dim=0)
        self.count += len(f)

    def solve(self, ridge: float = 1e-6) -> tuple[Tensor, Tensor, str]:
        """The minimiser.

        Args:
            ridge: penalty on W relative to the mean square of the features; 0 for none.

        Returns:
            weight (outputs, F) and bias (outputs,), float64, and how they were found: "cholesky", or "pseudo-inverse"
            where the equations are singular.

        Raises:
            ValueError: ridge is negative, or there are fewer samples than unknowns per output.
        """
        if not ridge >= 0.0:
            raise ValueError(f"ridge is {ridge}; it must be 0 or more")
        size = len(self.gram)
        if self.count < size:
            raise ValueError(
                f"{self.count} samples cannot determine {size - 1} features and a bias: give at least {size} "
                "(ten times as many is better), or fewer features"
            )
        diagonal = torch.diagonal(self.gram)
        penalty = torch.full_like(diagonal, ridge * float(diagonal[:-1].mean()))
        penalty[-1] = 0.0
        matrix = self.gram + torch.diag(penalty)
        # columns scaled to unit length first: features may differ by many orders of magnitude
        scale = torch.diagonal(matrix).clamp(min=1e-300).rsqrt()
        scaled = matrix * scale[:, None] * scale
        right = self.cross * scale[:, None]
        factor, failed = torch.linalg.cholesky_ex(scaled)
        smallest = float(torch.diagonal(factor).min())
        if int(failed) == 0 and smallest > 1e-7:
            solution, method = torch.cholesky_solve(right, factor), "cholesky"
        else:
            solution, method = torch.linalg.pinv(scaled, rtol=1e-12, hermitian=True) @ right, "pseudo-inverse"
        solution = solution * scale[:, None]
        return solution[:-1].T.contiguous(), solution[-1].clone(), method

    def squared_error(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Sum over the samples of (W f + b - y)^2 for each output, shape (outputs,), float64."""
        solution = torch.cat([weight.double(), bias.double()[:, None]], dim=1).T
        quadratic = (solution * (self.gram @ solution)).sum(dim=0)
        return (quadratic - 2.0 * (solution * self.cross).sum(dim=0) + self.target_squares).clamp(min=0.0)

    def relative_error(self, weight: Tensor, bias: Tensor) -> float:
        """|W f + b - y| over |y - mean y|, both over all samples and outputs: 1 is as good as a constant."""
        mean = self.cross[-1] / self.gram[-1, -1]
        spread = (self.target_squares - self.gram[-1, -1] * mean.square()).clamp(min=0.0).sum()
        return float((self.squared_error(weight, bias).sum() / spread.clamp(min=1e-300)).sqrt())

    def centered(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean of f (F,), covariance of f (F, F) and covariance of f with y (F, outputs), float64."""
        total = self.gram[-1, -1]
        mean = self.gram[-1, :-1] / total
        covariance = self.gram[:-1, :-1] / total - mean[:, None] * mean
        return mean, covariance, self.cross[:-1] / total - mean[:, None] * (self.cross[-1] / total)
