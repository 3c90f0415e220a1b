"""How far the unbiased EUGen estimator of f(w.x), f(t) = sum_i a_i t^i, strays from its mean.

Theorems 3.2 and 3.3 of "EUGens: Efficient, Unified, and General Dense Layers" (Kim et al., NeurIPS 2025, arXiv
2410.09771), for identity features, no norm column, and projections G_ij with independent entries of mean 0 and
variance 1. A bias is absorbed as in the paper: append it to the rows of the weight, and 1 to x.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def output_interval(weight: Tensor, bias: Tensor | None) -> tuple[float, float]:
    """Where the outputs of a dense layer lie for inputs of mean 0 and variance 1: the smallest interval that holds
    mean -+ 3 standard deviations of every output, b_r -+ 3 |w_r|. Shapes: weight (l, d), bias (l,)."""
    spread = 3.0 * weight.detach().double().norm(dim=1)
    mean = torch.zeros_like(spread) if bias is None else bias.detach().double()
    return float((mean - spread).min()), float((mean + spread).max())


def estimator_variance(
    weight: Tensor,
    x: Tensor,
    coefficients: Sequence[float] | Tensor,
    num_features: int,
    fourth_moment: float = 3.0,
    share_projections: bool = False,
) -> Tensor:
    """Variance of the estimator over the draws of G (Theorem 3.2).

    (1 / m) sum_{i>=1} a_i^2 (V^i - s^{2i}) with s = w.x and V = 2 s^2 + |w|^2 |x|^2 + (tau - 3) sum_c w_c^2 x_c^2.
    One G_j shared by all orders adds 2 a_i a_j (V^i - s^{2i}) s^{j-i} for each i < j [an addition of this library:
    the covariance of prod_{n<=i} u_n and prod_{n<=j} u_n for independent u_n with mean s and second moment V].
    Orthogonal projections stay below it at order 1.

    Args:
        weight: rows w, shape (l, d).
        x: shape (..., d).
        coefficients: a_0..a_k.
        num_features: m.
        fourth_moment: tau of the entries of G: 3 gaussian, 1 rademacher.
        share_projections: one G_j for all orders.

    Returns:
        shape (..., l).

    Raises:
        ValueError: weight and x differ in d, or num_features is below 1.
    """
    _check(weight, x, num_features)
    a = [float(value) for value in coefficients]
    s = x @ weight.T
    norms = x.square().sum(-1, keepdim=True) * weight.square().sum(-1)
    second_moment = 2.0 * s.square() + norms + (fourth_moment - 3.0) * (x.square() @ weight.square().T)
    total = torch.zeros_like(s)
    for i in range(1, len(a)):
        spread = second_moment**i - s.square() ** i
        total = total + a[i] ** 2 * spread
        if share_projections:
            for j in range(i + 1, len(a)):
                total = total + 2.0 * a[i] * a[j] * spread * s ** (j - i)
    return total / num_features


def deviation_bound(
    weight: Tensor,
    x: Tensor,
    coefficients: Sequence[float] | Tensor,
    num_features: int,
    epsilon: float,
    entry_bound: float = 1.0,
) -> Tensor:
    """An upper bound on P(|estimate - f(w.x)| >= epsilon) for bounded entries of G (Theorem 3.3, from Hoeffding).

    2 exp(-m epsilon^2 / (2 (eta_1 + eta_2)^2 k^2)), at most 1, with eta_1 = max_{i>=1} |a_i (w.x)^i| and
    eta_2 = max_{i>=1} |a_i| (c^2 d |x| |w|)^i.

    Args:
        weight: rows w, shape (l, d).
        x: shape (..., d).
        coefficients: a_0..a_k.
        num_features: m.
        epsilon: the deviation, above 0.
        entry_bound: c, the largest absolute entry of G (1 for rademacher; gaussian and orthogonal ones have none).

    Returns:
        shape (..., l).

    Raises:
        ValueError: weight and x differ in d, num_features is below 1, or epsilon or entry_bound is not above 0.
    """
    _check(weight, x, num_features)
    for name, value in (("epsilon", epsilon), ("entry_bound", entry_bound)):
        if not value > 0:
            raise ValueError(f"{name} is {value}; it must be above 0")
    a = [abs(float(value)) for value in coefficients]
    s = (x @ weight.T).abs()
    largest = entry_bound**2 * x.shape[-1] * x.norm(dim=-1, keepdim=True) * weight.norm(dim=-1)
    eta_1, eta_2 = torch.zeros_like(s), torch.zeros_like(s)
    for i in range(1, len(a)):
        eta_1 = torch.maximum(eta_1, a[i] * s**i)
        eta_2 = torch.maximum(eta_2, a[i] * largest**i)
    reach = (eta_1 + eta_2) * (len(a) - 1)
    return (2.0 * torch.exp(-num_features * epsilon**2 / (2.0 * reach.square()))).clamp(max=1.0)


def _check(weight: Tensor, x: Tensor, num_features: int) -> None:
    if weight.dim() != 2 or x.dim() < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"weight is {tuple(weight.shape)} and x {tuple(x.shape)}; they must be (l, d) and (..., d)")
    if num_features < 1:
        raise ValueError(f"num_features is {num_features}; it must be a positive integer")
