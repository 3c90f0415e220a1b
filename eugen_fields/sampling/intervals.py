"""Volume rendering over intervals that follow one another along rays, the same number on each.

Source: "NeRF" (Mildenhall et al., 2020), eq. 3; the convention of `packed.render_weights`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def _optical_depth(density: Tensor, edges: Tensor) -> Tensor:
    """sigma_i delta_i, shape (R, S)."""
    return density * torch.diff(edges)


def transmittance(density: Tensor, edges: Tensor) -> Tensor:
    """Fraction of light that reaches each edge: T_i = exp(-sum_{j<i} sigma_j delta_j).

    Args:
        density: shape (R, S), per scene unit, at least 0, constant over each interval.
        edges: distances along unit-length rays, shape (R, S + 1), ascending, scene units, float32 or wider
            (density need not be).

    Returns:
        shape (R, S + 1), in the wider dtype of the two: 1 at the first edge, what passes all intervals at the last.
    """
    return torch.exp(-F.pad(torch.cumsum(_optical_depth(density, edges), dim=-1), (1, 0)))


def alpha_weights(density: Tensor, edges: Tensor) -> Tensor:
    """Weight of each interval in its ray's colour: w_i = T_i (1 - exp(-sigma_i delta_i)).

    Args:
        density, edges: as for transmittance.

    Returns:
        weights, shape (R, S), in the wider dtype of the two; they sum to 1 less the last transmittance.
    """
    return transmittance(density, edges)[:, :-1] * -torch.expm1(-_optical_depth(density, edges))


def unbiased_near_cameras(values: Tensor, edges: Tensor, distance: float | Tensor) -> Tensor:
    """The values, with gradients that are multiplied by min(1, (t / distance)^2) in intervals with middles t.

    Steps that grow with distance look many times as often right before a camera as at the scene, and a fog there learns
    to show this one camera's photo before the scene learns to show all. That density of looks falls with t^2.

    Source: "Radiance Field Gradient Scaling for Unbiased Near-Camera Training" (Philip and Deschaintre, 2023), eq. 4.

    Args:
        values: of intervals, shape (R, S) or (R, S, channels).
        edges: distances along rays, shape (R, S + 1), at least 0.
        distance: from here on gradients are whole, in the units of the edges.
    """
    if values.requires_grad:
        factors = (0.5 * (edges[:, 1:] + edges[:, :-1]) / distance).clamp(max=1.0) ** 2
        values = values.view_as(values)  # a hook on the caller's own tensor would stay there
        values.register_hook(lambda gradient: gradient * factors.view(*factors.shape, *[1] * (gradient.dim() - 2)))
    return values
