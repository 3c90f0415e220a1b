"""How far a signed distance field is from the truth: distances, their gradients, and what a path planner makes of them.

Source: the evaluation of "iSDF: Real-Time Neural Signed Distance Fields for Robot Perception" (Ortiz et al., 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from eugen_fields.benchmark.distance.distance_truth import DistanceTruth

SDF = Callable[[Tensor], Tensor]
"""Points (N, 3) to signed distances (N,), metres."""
SDFAndGradient = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Points (N, 3) to signed distances (N,) and their gradients (N, 3)."""

BINS = (0.0, 0.1, 0.2, 0.5, 1.0, float("inf"))
"""Edges of the bins of the true distance, metres."""
SAFE_DISTANCES = (1.0, 1.5, 2.0)
"""Metres from which on a collision costs nothing."""
_CHUNK = 1 << 14


def collision_cost(distances: Tensor, safe_distance: float) -> Tensor:
    """CHOMP's cost of signed distances in metres (Zucker et al., 2013, eq. 20), in metres.

    With d the distance and e the safe one: e / 2 - d behind surfaces, (d - e)^2 / 2e up to e, 0 beyond.
    """
    near = (distances - safe_distance).square() / (2.0 * safe_distance)
    cost = torch.where(distances < 0, 0.5 * safe_distance - distances, near)
    return torch.where(distances > safe_distance, torch.zeros_like(cost), cost)


def evaluate(sdf: SDF, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """A field's distances as float64 in main memory, by chunks."""
    with torch.no_grad():
        return torch.cat([sdf(chunk).detach().cpu().double() for chunk in points.split(_CHUNK)])


def visible_error_cm(sdf: SDF, truth: DistanceTruth) -> float:
    """Mean |f - truth| over all points, cm: the figure to follow along a stream. NaN without points."""
    return _mean_cm((evaluate(sdf, truth.points) - truth.distances).abs())


def sdf_errors(
    sdf: SDF,
    truth: DistanceTruth,
    sdf_and_gradient: SDFAndGradient | None = None,
    known: Bool[Tensor, " points"] | None = None,
) -> dict[str, Any]:
    """Errors of a field at the points of the truth. Means over nothing, or over values that are not finite, are NaN.

    Args:
        sdf, sdf_and_gradient: the field; both give values on any device.
        known: points whose nearest surface was seen: `nearest_first_seen(stream, truth) <= frame`.

    Returns:
        visible_cm: mean |f - truth| over all points;
        visible_bias_cm: mean f - truth, above 0 where the field promises too much room;
        surface_cm: mean |f| over points on surfaces;
        free_cm: mean |f - truth| over the others;
        known_cm: mean |f - truth| over the points of `known`; only with it;
        bins: for each of BINS of the true distance (the first holds the surfaces): low_m, high_m (None for the last),
            count, mean_cm, and with `known` also known_count, known_cm;
        collision_cm: by safe distance, "1", "1.5" and "2" metres, the mean |c(f) - c(truth)| of collision_cost;
        gradient_cosine_distance: mean 1 - cos of the angle between the gradients over points off surfaces, 0 to 2; only
            with `sdf_and_gradient`.
    """
    predicted = evaluate(sdf, truth.points)
    true = truth.distances.double()
    errors = (predicted - true).abs()
    bins = []
    for low, high in zip(BINS, BINS[1:]):
        within = (true >= low) & (true < high)
        entry = {"low_m": low, "high_m": None if high == BINS[-1] else high}
        entry |= {"count": int(within.sum()), "mean_cm": _mean_cm(errors[within])}
        if known is not None:
            entry |= {"known_count": int((within & known).sum()), "known_cm": _mean_cm(errors[within & known])}
        bins.append(entry)
    result = {
        "visible_cm": _mean_cm(errors),
        "visible_bias_cm": _mean_cm(predicted - true),
        "surface_cm": _mean_cm(errors[truth.on_surface]),
        "free_cm": _mean_cm(errors[~truth.on_surface]),
        "bins": bins,
        "collision_cm": {
            f"{safe:g}": _mean_cm((collision_cost(predicted, safe) - collision_cost(true, safe)).abs())
            for safe in SAFE_DISTANCES
        },
    }
    if known is not None:
        result["known_cm"] = _mean_cm(errors[known])
    if sdf_and_gradient is not None:
        result["gradient_cosine_distance"] = gradient_error(sdf_and_gradient, truth)
    return result


def gradient_error(sdf_and_gradient: SDFAndGradient, truth: DistanceTruth) -> float:
    """Mean 1 - cos of the angle between the field's gradients and the true ones over points off surfaces, where the
    gradient has one direction whichever side they are on. A gradient of 0 counts as 1."""
    free = ~truth.on_surface
    chunks = truth.points[free].split(_CHUNK)
    gradients = torch.cat([sdf_and_gradient(chunk)[1].detach().cpu() for chunk in chunks])
    return float((1.0 - F.cosine_similarity(gradients.double(), truth.gradients[free].double(), dim=-1)).mean())


def _mean_cm(metres: Tensor) -> float:
    return 100.0 * float(metres.double().mean())
