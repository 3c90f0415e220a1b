"""The stretch of a pixel's cone between two distances, as a Gaussian, or as a place and a width."""

import torch
from torch import Tensor


def conical_frustum_gaussians(
    origins: Tensor, directions: Tensor, starts: Tensor, ends: Tensor, radius: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of points uniform in the frustums that a cone is cut into along its axis.

    Source: "Mip-NeRF" (Barron et al., 2021), eq. 7 (the form that subtracts no large numbers) and eq. 8.

    The moments are exact for directions of any length: a place on the axis is origin + t direction, starts and ends
    are values of t (distances, in scene units, where directions have length 1), and the cone's apex is the origin.

    Args:
        origins, directions: shape (..., 3), scene units; no direction is zero.
        starts, ends: shape (..., S), 0 <= start <= end.
        radius: the cone's radius at origin + direction, scene units, shape (..., 1).

    Returns:
        means, shape (..., S, 3), and covariances, shape (..., S, 3, 3), scene units and their square.
    """
    mean, along, across = _moments(starts, ends, radius)
    outer = directions[..., :, None] * directions[..., None, :]
    axis = outer / (directions**2).sum(dim=-1)[..., None, None]
    plane = torch.eye(3, dtype=axis.dtype, device=axis.device) - axis
    means = origins[..., None, :] + mean[..., None] * directions[..., None, :]
    covariances = along[..., None, None] * outer[..., None, :, :] + across[..., None, None] * plane[..., None, :, :]
    return means, covariances


def conical_frustum_widths(
    origins: Tensor, directions: Tensor, starts: Tensor, ends: Tensor, radius: Tensor
) -> tuple[Tensor, Tensor]:
    """Means as `conical_frustum_gaussians` has them, shape (..., S, 3), and standard deviations across the cone, shape
    (..., S), scene units, for directions of length 1. Arguments are those of `conical_frustum_gaussians`."""
    mean, _, across = _moments(starts, ends, radius)
    return origins[..., None, :] + mean[..., None] * directions[..., None, :], across.sqrt()


def _moments(starts: Tensor, ends: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance along the axis, and variance across it, shape (..., S) each, in values of t."""
    middle = 0.5 * (starts + ends)
    middle_squared = middle**2
    half_squared = (0.5 * (ends - starts)) ** 2
    tiny = torch.finfo(middle.dtype).tiny  # an empty interval at the apex has moments too: all zero
    ratio = half_squared / (3.0 * middle_squared + half_squared).clamp_min(tiny)
    mean = middle + 2.0 * middle * ratio
    along = half_squared / 3.0 - (4.0 / 15.0) * ratio**2 * (12.0 * middle_squared - half_squared)
    across = radius**2 * (middle_squared / 4.0 + (5.0 / 12.0 - (4.0 / 15.0) * ratio) * half_squared)
    return mean, along, across
