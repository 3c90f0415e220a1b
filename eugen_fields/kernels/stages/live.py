"""An MLP that is being trained, as stages whose tensors lead back to its parameters."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eugen_fields.kernels.stages.stage import HIGHEST_ORDER, INPUT, NARROWEST, WIDEST, Stage, activation_name
from eugen_fields.kernels.unsupported import Unsupported, part
from eugen_fields.layers import MLP
from eugen_fields.layers.activations import Activation, identity
from eugen_fields.layers.layer import AppendingLayer, LayerStage, layer_stages

DIFFERENTIABLE = ("identity", "relu", "softplus", "softplus100", "sigmoid", "tanh")
"""Activations whose slope can be told from their value: all that a backward pass has."""
TENSORS = ("weight", "bias", "skip", "norm_column")
"""Entries of a stage that gradients go to."""
WIDEST_INPUT = WIDEST_OUTPUT = 512
"""Columns that an MLP may read and write: both are taken piece by piece."""


def live_stages(mlp: nn.Module) -> list[Stage]:
    """Stages that compute what the MLP computes, layer by layer; nothing is merged but the factors of linear layers.
    Gradients of their tensors flow back to its parameters.

    Raises:
        Unsupported: fused kernels cannot train them.
    """
    if type(mlp) is not MLP:
        raise Unsupported(f"a {type(mlp).__name__} is no MLP of eugen_fields.layers")
    if mlp.in_dim > WIDEST_INPUT:
        raise Unsupported(f"its input is {mlp.in_dim} wide; up to {WIDEST_INPUT} can be fused")
    stages: list[Stage] = []
    current: tuple[int, ...] = (INPUT,)  # values that the next layer reads side by side
    for index, layer in enumerate(mlp.layers):
        reads = (INPUT, *current) if index in mlp.skip_connections else current
        width = stages[-1].features if stages else mlp.in_dim
        with part(f"layer {index}"):
            stages += _stages_of(layer, reads[:-1], width, mlp.activation_of(index))
        current = (*(reads if isinstance(layer, AppendingLayer) else ()), len(stages) - 1)
    if len(current) > 1:
        raise Unsupported("its output is several values side by side, which no linear layer reads")
    if len(stages) < 2:
        raise Unsupported("it has no hidden layer")
    for index, stage in enumerate(stages):
        if stage.activation not in DIFFERENTIABLE:
            raise Unsupported(f"stage {index}: gradients of {stage.activation} are not fused")
        least, most = (1, WIDEST_OUTPUT) if index == len(stages) - 1 else (NARROWEST, WIDEST)
        if not least <= stage.features <= most:
            raise Unsupported(f"stage {index} is {stage.features} wide; {least} to {most} can be fused")
    return stages


def _stages_of(layer: nn.Module, beside: tuple[int, ...], width: int, activation: Activation) -> list[Stage]:
    """The stages of one layer and of the activation behind it, which reads the values `beside` and then the value of
    the stage before, which is `width` wide."""
    try:
        parts = layer_stages(layer)
    except ValueError:
        raise Unsupported(f"a {type(layer).__name__} cannot be fused") from None
    linear = parts[0].linear
    if all(stage.is_affine for stage in parts):
        for factor in parts[1:]:
            linear = factor.linear.after(linear)
        parts = (LayerStage(linear),)
    if activation is not identity:
        parts = (*parts[:-1], parts[-1]._replace(activation=activation))
    stages = []
    for place, stage in enumerate(parts):
        if stage.squared_norm:
            raise Unsupported(f"a {type(layer).__name__} cannot be fused")
        if stage.products is not None and stage.products[1] > HIGHEST_ORDER:
            raise Unsupported(f"order {stage.products[1]}; up to {HIGHEST_ORDER} can be fused")
        weight, skip = stage.linear.weight, None
        if place == 0 and beside:
            skip, weight = weight[:, :-width], weight[:, -width:]
        name = activation_name(stage.activation) or "unknown"
        entries = (weight, stage.linear.bias, skip, stage.norm_column, None, None, stage.products, name)
        stages.append(Stage(*entries, beside=beside if place == 0 else ()))
    return stages


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
