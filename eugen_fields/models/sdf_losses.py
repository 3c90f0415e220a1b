"""The loss of signed distance fields trained on depth rays, term by term.

Source: "iSDF" (Ortiz et al., 2022), with the weights of its public configuration. Every term is a function of samples,
of any shape (...), and is 0 where it does not apply; the loss is the mean over all samples of their sum.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_SHORTEST_GRADIENT = 1e-3
"""A gradient shorter than this counts as this long where its direction is asked for, or the derivative of that would
grow without bound."""
_SHARPNESS = 5.0
"""How steeply negative distances in free space are punished, per metre."""


@dataclass(frozen=True)
class SDFLossWeights:
    """Weights and ranges of the terms."""

    truncation: float = 0.2937
    """Largest bound, metres, to which samples are fitted; samples with larger bounds lie in free space."""
    free_space_fit: float = 0.0
    """Weight per metre of fitting samples in free space to their bound. 0 in iSDF, as the bounds of five frames are
    loose; those of all keyframes are not."""
    near_surface: float = 5.383
    """Weight per metre of fitting samples near the surface to their bound."""
    eikonal: float = 0.268
    """Weight of the Eikonal loss."""
    eikonal_from: float = 0.1
    """Smallest bound, metres, of samples in the Eikonal loss."""
    gradient_direction: float = 0.018
    """Weight of the loss on the direction of the gradient."""


def free_space_loss(sdf: Tensor, bounds: Tensor) -> Tensor:
    """max(0, f - b, exp(-5 f) - 1): zero where the distance is at most the bound, and not negative.

    Args:
        sdf, bounds: f and b, shape (...), metres.
    """
    # e^30: far beyond what a field gets to, but neither it nor its square may overflow
    return torch.maximum(F.relu(sdf - bounds), torch.expm1((-_SHARPNESS * sdf).clamp_max(30.0)))


def near_surface_loss(sdf: Tensor, bounds: Tensor) -> Tensor:
    """|f - b|, metres.

    Args:
        sdf, bounds: f and b, shape (...), metres.
    """
    return (sdf - bounds).abs()


def eikonal_loss(gradient: Tensor) -> Tensor:
    """| |grad f| - 1 |, shape (...): the gradient of a distance has length 1.

    Args:
        gradient: shape (..., 3).
    """
    return (gradient.norm(dim=-1) - 1.0).abs()


def gradient_direction_loss(gradient: Tensor, directions: Tensor) -> Tensor:
    """1 - cos of the angle between grad f and where it should point, shape (...); 0 where no direction is known.

    Args:
        gradient: shape (..., 3).
        directions: unit length, or 0 where unknown, shape (..., 3).
    """
    cosine = (gradient * directions).sum(dim=-1) / gradient.norm(dim=-1).clamp_min(_SHORTEST_GRADIENT)
    return torch.where((directions != 0).any(dim=-1), 1.0 - cosine, torch.zeros_like(cosine))


def sdf_loss_terms(
    sdf: Tensor, gradient: Tensor, bounds: Tensor, directions: Tensor, weights: SDFLossWeights | None = None
) -> dict[str, Tensor]:
    """The weighted terms of each sample.

    Args:
        sdf: f at the samples, shape (...), metres.
        gradient: of f there, shape (..., 3).
        bounds: b, signed distances that f may not exceed, shape (...), metres.
        directions: what the gradient is compared with, shape (..., 3), unit length or 0 where unknown.
        weights: None takes the published ones.

    Returns:
        free_space (b > truncation), near_surface (everywhere else), eikonal (b >= eikonal_from) and
        gradient_direction, each of shape (...) and 0 where it does not apply.
    """
    weights = weights or SDFLossWeights()
    free = bounds > weights.truncation
    in_front = free_space_loss(sdf, bounds)
    if weights.free_space_fit > 0:
        in_front = in_front + weights.free_space_fit * (sdf - bounds).abs()
    none = torch.zeros_like(sdf)
    return {
        "free_space": torch.where(free, in_front, none),
        "near_surface": torch.where(free, none, weights.near_surface * near_surface_loss(sdf, bounds)),
        "eikonal": torch.where(bounds >= weights.eikonal_from, weights.eikonal * eikonal_loss(gradient), none),
        "gradient_direction": weights.gradient_direction * gradient_direction_loss(gradient, directions),
    }
