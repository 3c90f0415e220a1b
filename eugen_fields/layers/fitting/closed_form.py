"""Closed-form fits of every layer kind to recorded inputs and outputs of a trained layer, from second moments alone."""

import torch
from torch import Tensor, nn

from eugen_fields.layers.eugen import EUGenLinear
from eugen_fields.layers.fitting.regression import NormalEquations
from eugen_fields.layers.kinds import LAYER_KINDS
from eugen_fields.layers.layer import FeatureLayer, LinearLayer

PROJECTION_CHOICES = ("neurons", "mixed", "principal", "random")
"""Where the projections of a fitted EUGen layer come from."""


def select_columns(covariance: Tensor, cross: Tensor, count: int) -> list[int]:
    """The columns of y that together explain targets t best, picked one by one (orthogonal least squares: Chen, Cowan
    and Grant, 1991): each pick is the column whose addition lowers the squared error of the regression of t most.

    Args:
        covariance: of y, shape (l, l).
        cross: covariance of y with t, shape (l, targets).
        count: columns to pick, at most l.

    Returns:
        indices in the order in which they were picked. Fewer than `count` where the others are constant or exact
        linear combinations of those.
    """
    remaining, explained = covariance.clone(), cross.clone()
    variance = torch.diagonal(covariance)
    smallest = 1e-10 * variance + 1e-12 * variance.mean()  # below it lies what rounding leaves
    picked: list[int] = []
    for _ in range(count):
        variance = torch.diagonal(remaining)
        gain = explained.square().sum(dim=1) / variance.clamp(min=1e-300)
        gain = torch.where(variance > smallest, gain, -torch.ones_like(gain))
        gain[picked] = -1.0
        best = int(gain.argmax())
        if float(gain[best]) < 0.0:
            break
        picked.append(best)
        share = remaining[:, best] / variance[best]
        explained = explained - share[:, None] * explained[best]
        remaining = remaining - share[:, None] * remaining[best]
    return picked


def neuron_projections(linear: nn.Linear, neurons: list[int], layer: EUGenLinear) -> Tensor:
    """Projections G whose first rows are neurons [w; 0; b] of a trained layer, shape of layer.projection_matrices().

    Rows beyond the neurons stay as they were drawn.
    """
    matrices = layer.projection_matrices().detach().clone()
    rows = matrices[: len(neurons)]
    rows.zero_()
    rows[:, : linear.in_features] = linear.weight.detach()[neurons].to(rows)
    if linear.bias is not None:
        rows[:, -1] = linear.bias.detach()[neurons].to(rows)
    return matrices


def principal_projections(mean: Tensor, covariance: Tensor, layer: EUGenLinear) -> Tensor:
    """Projections G along the principal directions v of the inputs: rows [v; 0; -v . mean] in turn with both signs,
    strongest direction first; rows beyond 2 d stay as they were drawn.

    Args:
        mean, covariance: of the inputs, shapes (d,) and (d, d).
    """
    matrices = layer.projection_matrices().detach().clone()
    directions = torch.linalg.eigh(covariance).eigenvectors.flip(1).T
    signed = torch.stack([directions, -directions], dim=1).flatten(0, 1)[: len(matrices)]
    rows = matrices[: len(signed)]
    rows.zero_()
    rows[:, : layer.in_features] = signed.to(rows)
    rows[:, -1] = -(signed @ mean).to(rows)
    return matrices


LINEAR_FROM = 4.0
"""Where the feature activations that mixed projections need are linear: they rise by 1 for each unit from here on."""


def linear_directions(mean: Tensor, covariance: Tensor, cross: Tensor, count: int) -> Tensor:
    """Rows [v, c] of which v . x + c has variance 1 and mean LINEAR_FROM + 4: functions of x on which relu, gelu, silu
    and softplus act (almost) as the identity. The v are the directions of the reduced-rank regression of targets on x
    (Izenman, 1975), strongest last.

    Args:
        mean, covariance: of x, shapes (d,) and (d, d).
        cross: covariance of x with the targets, shape (d, targets).
        count: rows, at most; there are no more than targets.

    Returns:
        shape (rows, d + 1).
    """
    penalty = 1e-6 * torch.diagonal(covariance).mean() * torch.eye(len(covariance)).to(covariance)
    weight = torch.linalg.solve(covariance + penalty, cross).T
    outputs = weight @ covariance @ weight.T
    directions = torch.linalg.eigh((outputs + outputs.T) / 2.0).eigenvectors[:, -count:].T @ weight
    variance = ((directions @ covariance) * directions).sum(dim=1)
    directions = directions[variance > 1e-12 * variance.max()]
    directions = directions / ((directions @ covariance) * directions).sum(dim=1, keepdim=True).sqrt()
    return torch.cat([directions, LINEAR_FROM + 4.0 - (directions @ mean)[:, None]], dim=1)


def mixed_projections(
    linear: nn.Linear, mean: Tensor, covariance: Tensor, cross: Tensor, layer: EUGenLinear
) -> tuple[Tensor, Tensor]:
    """Projections G of which some are neurons of a trained layer and some linear directions of its inputs, picked one
    by one from both (see `select_columns`).

    Args:
        linear: the trained layer, d to l.
        mean, covariance: of [features of all l neurons, inputs x], shapes (l + d,) and (l + d, l + d).
        cross: covariance of the same with the targets, shape (l + d, targets).

    Returns:
        G, shape of layer.projection_matrices(), rows beyond those picked as they were drawn; and its picked rows [v, c]
        alone, shape (picked, d + 1).
    """
    neurons = linear.out_features
    rows = linear_directions(mean[neurons:], covariance[neurons:, neurons:], cross[neurons:], layer.num_features)
    candidates = torch.zeros(neurons + len(rows), len(covariance)).to(covariance)
    candidates[:neurons, :neurons] = torch.eye(neurons).to(covariance)
    candidates[neurons:, neurons:] = rows[:, :-1]
    picked = select_columns(candidates @ covariance @ candidates.T, candidates @ cross, layer.num_features)
    bias = linear.weight.new_zeros(neurons) if linear.bias is None else linear.bias.detach()
    own = torch.cat([linear.weight.detach(), bias[:, None]], dim=1).to(rows)
    chosen = torch.cat([own, rows])[picked]
    matrices = layer.projection_matrices().detach().clone()
    matrices[: len(chosen)] = 0.0
    matrices[: len(chosen), : linear.in_features] = chosen[:, :-1].to(matrices)
    matrices[: len(chosen), -1] = chosen[:, -1].to(matrices)
    return matrices, chosen


Fit = tuple[str, Tensor, Tensor]
"""How a fit was found, and the weight (outputs, features) and bias (outputs,) that it amounts to, float64."""


def fit_features(layer: FeatureLayer, equations: NormalEquations, ridge: float) -> Fit:
    """Sets `weight` and `bias` of a layer y = W features(x) + b to the least-squares solution."""
    weight, bias, method = equations.solve(ridge)
    with torch.no_grad():
        layer.weight.copy_(weight)
    _set_bias(layer.bias, bias)
    return method, weight, bias


def fit_linear(layer: nn.Module, equations: NormalEquations, ridge: float) -> Fit:
    """Fits a LinearLayer to recorded inputs x and pre-activations z: its matrix as its kind does (`LinearLayer.fit`),
    its bias to the means that are left.

    Raises:
        ValueError: the layer is of another class.
    """
    if not isinstance(layer, LinearLayer):
        kinds = [kind.cls.__name__ for kind in LAYER_KINDS.values() if issubclass(kind.cls, LinearLayer)]
        raise ValueError(f"{type(layer).__name__} cannot be fitted; {' and '.join(kinds)} can")
    weight, _, method = equations.solve(ridge)
    mean, target_mean, covariance, cross = equations.moments()
    effective = layer.fit(weight, covariance, cross, ridge)
    bias = target_mean - effective @ mean
    _set_bias(layer.bias, bias)
    return layer.solver or method, effective, bias


def _set_bias(parameter: nn.Parameter | None, bias: Tensor) -> None:
    if parameter is not None:
        with torch.no_grad():
            parameter.copy_(bias)
