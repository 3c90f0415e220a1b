"""All of space contracted into a ball of radius 2, for scenes without bounds.

Source: "Mip-NeRF 360" (Barron et al., 2022), eq. 9 and 10.
"""

import torch
from torch import Tensor


def _distance_outside(x: Tensor) -> Tensor:
    """max(|x|, 1), shape (..., 1), smooth at 0, where |x| is not."""
    return torch.sqrt((x**2).sum(dim=-1, keepdim=True).clamp_min(1.0))


def contract(x: Tensor) -> Tensor:
    """x inside the unit ball, (2 - 1/|x|) x/|x| outside (eq. 10), shape (..., 3) to (..., 3).

    The length stays below 2 in floating point as well: places farther than 1/(8 eps) (about 10^6 in float32) share
    one sphere just inside it. |x|^2 must not overflow.
    """
    distance = _distance_outside(x)
    most = 2.0 - 8.0 * torch.finfo(x.dtype).eps
    return x * ((2.0 - 1.0 / distance).clamp_max(most) / distance)


def contract_gaussians(means: Tensor, covariances: Tensor) -> tuple[Tensor, Tensor]:
    """The Gaussians after `contract` made linear at their means: contract(mean) and J Sigma J^T (eq. 9).

    With u = x/|x| the Jacobian is J = a I + b u u^T, a = 2/|x| - 1/|x|^2 and b = 2/|x|^2 - 2/|x|; it is I inside the
    unit ball.

    Args:
        means: shape (..., 3).
        covariances: shape (..., 3, 3), symmetric.

    Returns:
        means and covariances of the shapes given.
    """
    distance = _distance_outside(means)  # 1 inside the ball, where a = 1 and b = 0 whatever u is
    a = 2.0 / distance - 1.0 / distance**2
    b = 2.0 / distance**2 - 2.0 / distance
    u = means / distance
    spread = (covariances * u[..., None, :]).sum(dim=-1)  # Sigma u
    # J Sigma J = a^2 Sigma + a b (u (Sigma u)^T + (Sigma u) u^T) + b^2 (u.Sigma.u) u u^T
    v = a * b * spread + 0.5 * b**2 * (u * spread).sum(dim=-1, keepdim=True) * u
    mixed = u[..., :, None] * v[..., None, :]
    return contract(means), a[..., None] ** 2 * covariances + mixed + mixed.transpose(-1, -2)


def contract_widths(means: Tensor, widths: Tensor) -> Tensor:
    """Standard deviations (...) of what is spread across the line of sight at `means` (..., 3), after `contract`: they
    shrink as lengths across the radius do, by the Jacobian's eigenvalue 2/|x| - 1/|x|^2; seen from near the middle,
    lines of sight to far places run along the radius."""
    distance = _distance_outside(means)[..., 0]
    return widths * (2.0 - 1.0 / distance) / distance
