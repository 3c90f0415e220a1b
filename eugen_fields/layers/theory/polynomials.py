"""Polynomials in place of activations: the coefficients a_0..a_k that an EUGen layer of order k carries.

Theorem 3.4 of "EUGens: Efficient, Unified, and General Dense Layers" (Kim et al., NeurIPS 2025, arXiv 2410.09771)
approximates a continuous activation by its Bernstein polynomial. The two least-squares fits are additions of this
library; at the low orders of a layer their errors are several times smaller.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from eugen_fields.layers.activations import Activation, get_activation

FIT_METHODS = ("chebyshev", "least-squares", "bernstein")
_FIT_POINTS = 4096
_ERROR_POINTS = 8193


def evaluate_polynomial(coefficients: Sequence[float] | Tensor, t: Tensor) -> Tensor:
    """a_0 + a_1 t + ... + a_k t^k, the shape of t (Horner's rule)."""
    value = torch.zeros_like(t)
    for coefficient in reversed([float(a) for a in coefficients]):
        value = value * t + coefficient
    return value


def fit_polynomial(
    activation: str | Activation, order: int, interval: tuple[float, float], method: str = "chebyshev"
) -> tuple[Tensor, float]:
    """A polynomial of degree `order` close to `activation` on `interval`.

    Args:
        activation: a name or an element-wise callable.
        order: k, any integer from 0 (EUGenLinear itself takes 1 to 4).
        interval: (low, high).
        method: "chebyshev", the truncated Chebyshev series: least squares that weigh the ends of the interval more,
            near the smallest maximum error; "least-squares", the smallest mean square error for t uniform on the
            interval; "bernstein", sum_j activation(low + (high - low) j / k) C(k, j) s^j (1 - s)^(k - j) with
            s = (t - low) / (high - low), whose error is at most 5/4 omega((high - low) / sqrt(k)), omega the modulus
            of continuity (Theorem 3.4; the constant is Popoviciu's, 1935).

    Returns:
        a_0..a_k, float64, shape (order + 1,), with activation(t) ~ sum_i a_i t^i, and the largest absolute error of
        these very numbers on 8,193 points of the interval. The monomial basis itself loses digits as k grows: beyond
        about order 40 its rounding is what the error reports.

    Raises:
        ValueError: order below 0, an interval that is not finite and increasing, an unknown method, or an activation
            that is not element-wise or not finite on the interval.
    """
    if order < 0:
        raise ValueError(f"order is {order}; it must be an integer of at least 0")
    if method not in FIT_METHODS:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(FIT_METHODS)}")
    low, high = (float(end) for end in interval)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"interval is ({low}, {high}); both ends must be finite")
    if not low < high:
        raise ValueError(f"interval is ({low}, {high}); its first end must be below its second")
    middle, half = (low + high) / 2, (high - low) / 2

    def target(u: Tensor) -> Tensor:
        return _finite_values(activation, middle + half * u)

    monomials = _bernstein(target, order) if method == "bernstein" else _least_squares(target, order, method)
    coefficients = torch.zeros(order + 1, dtype=torch.float64)  # of t, by Horner's rule in u = (t - middle) / half
    for value in reversed(monomials.tolist()):
        shifted = torch.cat([coefficients.new_zeros(1), coefficients[:-1]])
        coefficients = (shifted - middle * coefficients) / half
        coefficients[0] += value
    t = torch.linspace(low, high, _ERROR_POINTS, dtype=torch.float64)
    error = (evaluate_polynomial(coefficients, t) - _finite_values(activation, t)).abs().max()
    return coefficients, float(error)


def exact_coefficients(coefficients: Sequence[float] | Tensor, order: int) -> Tensor:
    """Given a_0..a_k, float64, shape (order + 1,). Raises ValueError if they are not order + 1 finite numbers."""
    given = torch.tensor([float(a) for a in coefficients], dtype=torch.float64)
    if len(given) != order + 1:
        raise ValueError(
            f"{len(given)} coefficients are given; order {order} needs a_0..a_{order}, {order + 1} of them"
        )
    if not bool(torch.isfinite(given).all()):
        raise ValueError(f"coefficients are {given.tolist()}; all must be finite")
    return given


def _finite_values(activation: str | Activation, t: Tensor) -> Tensor:
    values = get_activation(activation)(t)
    if values.shape != t.shape:
        raise ValueError(
            f"activation maps shape {tuple(t.shape)} to {tuple(values.shape)}; it must act on each element by itself"
        )
    if not bool(torch.isfinite(values).all()):
        first = float(t[~torch.isfinite(values)][0])
        raise ValueError(f"activation is not finite at {first:.6g}; choose an interval on which it is")
    return values.double()


def _least_squares(target: Activation, order: int, method: str) -> Tensor:
    """Monomial coefficients on [-1, 1] of the least-squares fit, equal weights at Chebyshev nodes (where it is the
    truncated Chebyshev series) or at evenly spaced points."""
    points = max(_FIT_POINTS, 4 * (order + 1))
    steps = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    u = torch.cos(math.pi * steps) if method == "chebyshev" else 2.0 * steps - 1.0
    basis = torch.cos(torch.arange(order + 1, dtype=torch.float64) * torch.acos(u)[:, None])  # T_n(u)
    series = torch.linalg.lstsq(basis, target(u)[:, None]).solution[:, 0]
    previous, current = torch.zeros(order + 1, dtype=torch.float64), torch.zeros(order + 1, dtype=torch.float64)
    current[0] = 1.0
    monomials = torch.zeros(order + 1, dtype=torch.float64)
    for n in range(order + 1):  # T_{n+1} = 2 u T_n - T_{n-1}, with T_1 = u
        monomials = monomials + series[n] * current
        times_u = torch.cat([current.new_zeros(1), current[:-1]])
        previous, current = current, times_u if n == 0 else 2.0 * times_u - previous
    return monomials


def _bernstein(target: Activation, order: int) -> Tensor:
    """Monomial coefficients on [-1, 1] of sum_j target(2 j / k - 1) C(k, j) ((1 + u) / 2)^j ((1 - u) / 2)^(k - j)."""
    u = 2.0 * torch.arange(order + 1, dtype=torch.float64) / order - 1.0 if order else torch.zeros(1).double()
    values = target(u)
    monomials = torch.zeros(order + 1, dtype=torch.float64)
    for j in range(order + 1):
        basis = torch.tensor([float(math.comb(order, j)), *[0.0] * order], dtype=torch.float64)
        for sign in [1.0] * j + [-1.0] * (order - j):
            basis = (basis + sign * torch.cat([basis.new_zeros(1), basis[:-1]])) / 2.0
        monomials = monomials + values[j] * basis
    return monomials
