"""Distances along rays in normalised form: 0 at near, 1 at far.

Source: "Mip-NeRF 360" (Barron et al., 2022), eq. 11, with g(t) = t (linear) or g(t) = 1/t (disparity: steps that grow
with distance).
"""

from typing import Literal

from torch import Tensor

Spacing = Literal["linear", "disparity"]


def _curve(distances: Tensor, spacing: Spacing) -> Tensor:
    """g, which for both spacings is its own inverse."""
    if spacing == "linear":
        return distances
    if spacing == "disparity":
        return 1.0 / distances
    raise ValueError(f"spacing is {spacing!r}; it must be 'linear' or 'disparity'")


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
    # written from the far end: 1/far is small, and would be lost in sums with 1/near
    return _curve(end + (1.0 - normalised) * (start - end), spacing)
