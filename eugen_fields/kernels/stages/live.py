"""An MLP that is being trained, as stages whose tensors lead back to its parameters."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eugen_fields.kernels.stages.stage import HIGHEST_ORDER, NARROWEST, WIDEST, Stage, activation_name, affine_stage
from eugen_fields.kernels.unsupported import Unsupported, part
from eugen_fields.layers import MLP, EUGenLinear, LowRankLinear, PRPLinear

DIFFERENTIABLE = ("identity", "relu", "softplus", "softplus100", "sigmoid", "tanh")
"""Activations whose slope can be told from their value: all that a backward pass has."""
TENSORS = ("weight", "bias", "skip", "norm_column")
"""Entries of a stage that gradients go to."""
WIDEST_INPUT = WIDEST_OUTPUT = 512
"""Columns that an MLP may read and write: both are taken piece by piece."""


def live_stages(mlp: nn.Module) -> list[Stage]:
    """Stages that compute what the MLP computes, layer by layer; nothing is merged. Gradients of their tensors flow
    back to its parameters, also through the products that low-rank and PRP layers stand for.

    Raises:
        Unsupported: fused kernels cannot train them.
    """
    if type(mlp) is not MLP:
        raise Unsupported(f"a {type(mlp).__name__} is no MLP of eugen_fields.layers")
    if mlp.in_dim > WIDEST_INPUT:
        raise Unsupported(f"its input is {mlp.in_dim} wide; up to {WIDEST_INPUT} can be fused")
    stages = _stages(mlp)
    if len(stages) < 2:
        raise Unsupported("it has no hidden layer")
    for index, stage in enumerate(stages):
        if stage.activation not in DIFFERENTIABLE:
            raise Unsupported(f"stage {index}: gradients of {stage.activation} are not fused")
        least, most = (1, WIDEST_OUTPUT) if index == len(stages) - 1 else (NARROWEST, WIDEST)
        if not least <= stage.features <= most:
            raise Unsupported(f"stage {index} is {stage.features} wide; {least} to {most} can be fused")
    return stages


def _check(layer: nn.Module) -> None:
    if not isinstance(layer, nn.Linear | PRPLinear | LowRankLinear | EUGenLinear):
        raise Unsupported(f"a {type(layer).__name__} cannot be fused")
    if isinstance(layer, EUGenLinear) and layer.order > HIGHEST_ORDER:
        raise Unsupported(f"order {layer.order}; up to {HIGHEST_ORDER} can be fused")


def _stages(mlp: MLP) -> list[Stage]:
    stages: list[Stage] = []
    for index, layer in enumerate(mlp.layers):
        with part(f"layer {index}"):
            _check(layer)
        skip_dim = mlp.in_dim if index in mlp.skip_connections else 0
        name = activation_name(mlp.activation_of(index)) or "unknown"
        if isinstance(layer, EUGenLinear):
            stages.append(_feature_stage(layer, skip_dim))
            stages.append(affine_stage(layer.weight, _bias(layer.bias, layer.weight), None, name))
        elif isinstance(layer, LowRankLinear | PRPLinear | nn.Linear):
            weight = _dense_weight(layer)
            skip, body = (weight[:, :skip_dim], weight[:, skip_dim:]) if skip_dim else (None, weight)
            stages.append(affine_stage(body, _bias(layer.bias, weight), skip, name))
    return stages


def _feature_stage(layer: EUGenLinear, skip_dim: int) -> Stage:
    matrix = layer.projection_matrices()
    columns = matrix[:, : layer.in_features]
    return Stage(
        columns[:, skip_dim:],
        matrix[:, -1] if layer.projection_bias else matrix.new_zeros(len(matrix)),
        columns[:, :skip_dim] if skip_dim else None,
        matrix[:, layer.in_features] if layer.norm else None,
        None,
        None,
        (layer.num_features, layer.order, layer.share_projections) if layer.order > 1 else None,
        activation_name(layer._activation) or "unknown",
    )


def _dense_weight(layer: nn.Linear | PRPLinear | LowRankLinear) -> Tensor:
    if isinstance(layer, PRPLinear):
        return layer.effective_weight()
    return layer.up @ layer.down if isinstance(layer, LowRankLinear) else layer.weight


def _bias(bias: Tensor | None, weight: Tensor) -> Tensor:
    return weight.new_zeros(len(weight)) if bias is None else bias


def tensors_of(stages: Sequence[Stage]) -> list[Tensor]:
    """What gradients go to, stage by stage in the order of TENSORS, without entries that are None."""
    entries = [getattr(stage, name) for stage in stages for name in TENSORS]
    return [entry for entry in entries if entry is not None]


def positions(stages: Sequence[Stage]) -> list[Stage]:
    """The stages with every number replaced by its place, counted from 1, among all numbers of `tensors_of`; float64 on
    the CPU. A program written from places says where each number of a real one comes from; 0 is padding."""
    result, count = [], 1
    for stage in stages:
        places: dict[str, Tensor] = {}
        for name in TENSORS:
            entry = getattr(stage, name)
            if entry is not None:
                places[name] = torch.arange(count, count + entry.numel(), dtype=torch.float64).view(entry.shape)
                count += entry.numel()
        result.append(stage._replace(**places))
    return result
