"""Distances along rays in normalised form: 0 at near, 1 at far.

Source: "Mip-NeRF 360" (Barron et al., 2022), eq. 11, with one of three curves g: g(t) = t (linear), g(t) = 1/t
(disparity: steps that grow with the square of the distance), or the power transformation of "Zip-NeRF" (Barron et al.,
2023), g(t) = P(2 t, -1.5) (power: even steps near the camera that grow with distance from about 1 on).
"""

from typing import Literal

from torch import Tensor

Spacing = Literal["linear", "disparity", "power"]
_SPACINGS = ("linear", "disparity", "power")


def _curve(distances: Tensor, spacing: Spacing) -> Tensor:
    """g, up to a factor and a constant, which fall out of eq. 11."""
    if spacing == "linear":
        return distances
    if spacing == "disparity":
        return 1.0 / distances
    if spacing == "power":
        return (1.0 + 0.8 * distances) ** -1.5
    raise ValueError(f"spacing is {spacing!r}; it must be one of {', '.join(_SPACINGS)}")


def _inverse(values: Tensor, spacing: Spacing) -> Tensor:
    """The distances at which `_curve` has these values."""
    if spacing == "power":
        return (values ** (-1.0 / 1.5) - 1.0) / 0.8
    return _curve(values, spacing)


def to_normalised(distances: Tensor, near: Tensor, far: Tensor, spacing: Spacing) -> Tensor:
    """s = (g(t) - g(near)) / (g(far) - g(near)) of distances t.

    Args:
        distances: shape (R, S), scene units, above 0 for disparity.
        near, far: shape (R, 1), scene units, near < far; 0 < near for disparity.

    Returns:
        shape (R, S), in [0, 1] between near and far.

    Raises:
        ValueError: an unknown spacing.
    """
    start, end = _curve(near, spacing), _curve(far, spacing)
    return (_curve(distances, spacing) - start) / (end - start)


def to_distances(normalised: Tensor, near: Tensor, far: Tensor, spacing: Spacing) -> Tensor:
    """t = g^-1(s g(far) + (1 - s) g(near)), the inverse of to_normalised; ascending where s is, in floats too.

    Args:
        normalised: shape (R, S), in [0, 1].
        near, far: as for to_normalised.

    Returns:
        distances, shape (R, S), scene units.

    Raises:
        ValueError: an unknown spacing.
    """
    start, end = _curve(near, spacing), _curve(far, spacing)
    # written from the far end: there 1/far is small, and would be lost in sums with 1/near
    return _inverse(end + (1.0 - normalised) * (start - end), spacing)
