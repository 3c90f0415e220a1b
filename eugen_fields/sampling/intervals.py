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
