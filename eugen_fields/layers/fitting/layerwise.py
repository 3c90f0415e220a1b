"""Layers of a network fitted in closed form, one by one, to the inputs and outputs of trained layers of the same names.

Source: "EUGens: Efficient, Unified, and General Dense Layers" (Kim et al., NeurIPS 2025, arXiv 2410.09771): with the
projections fixed, the weight side of a layer is the solution of a ridge regression of the trained layer's outputs on
the new layer's features. This library adds where the projections come from: neurons of the trained layer itself, picked
one by one, lose far less than random ones.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation
from eugen_fields.layers.eugen import EUGenLinear
from eugen_fields.layers.fitting.closed_form import (
    LINEAR_FROM,
    PROJECTION_CHOICES,
    fit_features,
    fit_linear,
    mixed_projections,
    neuron_projections,
    principal_projections,
    select_columns,
)
from eugen_fields.layers.fitting.recording import Stream, as_rows, record
from eugen_fields.layers.fitting.regression import NormalEquations
from eugen_fields.layers.kinds import LAYER_KINDS, check_stands_for_dense, replacements
from eugen_fields.layers.layer import FeatureLayer, layer_multiplications


class Chosen(NamedTuple):
    """One layer to fit: its qualified name in teacher and student alike."""

    name: str
    activation: Activation
    """What the teacher applies to the output of its Linear and the new layer holds itself; else the identity."""
    reader: Tensor | None = None
    """Weight (rows, out_features) of the linear map that reads the output next, where known: the errors that it sees
    are those that count when neurons are picked."""
    reader_name: str | None = None
    """Qualified name of that map: where it is replaced too, only the rows of its picked neurons are read."""


@dataclass
class LayerReport:
    """What became of one layer."""

    name: str
    relative_error: float
    """|fit - target| over |target - mean target| on the inputs: 1 is as good as a constant."""
    features: int
    """Features that the fit could use (for PRP and low-rank: inputs)."""
    solver: str
    """cholesky, pseudo-inverse (singular equations) or alternating least squares."""
    seconds: float
    """Seconds of the fit, passes through the networks included."""
    parameters_before: int
    parameters_after: int
    multiplications_before: int
    """Multiplications of the unfolded layer's matrix products, for one input."""
    multiplications_after: int


def with_fit_defaults(
    layer: str, projections: str, activation: str | Activation, layer_options: dict[str, Any]
) -> dict[str, Any]:
    """Options of layers that are to be fitted: EUGen layers whose projections are not drawn at random need a bias in
    each and no norm, and all of them have the teacher's activation, unless told otherwise.

    Raises:
        ValueError: the layer kind is dense, unknown or stands for no dense layer; the projections are not one of those
            offered, or need another option.
    """
    if layer == "dense":
        *some, last = replacements()
        others = f"{', '.join(some)} or {last}"
        raise ValueError(f"layer is 'dense', which the trained layer already is; choose {others}")
    check_stands_for_dense(layer)
    if projections not in PROJECTION_CHOICES:
        raise ValueError(f"projections is {projections!r}; it must be one of {', '.join(PROJECTION_CHOICES)}")
    if not issubclass(LAYER_KINDS[layer].cls, EUGenLinear):
        return layer_options
    if projections != "random":
        for name, needed in (("order", 1), ("train_projections", True), ("projection_bias", True)):
            if layer_options.get(name, needed) != needed:
                raise ValueError(
                    f"{name} is {layer_options[name]}; projections={projections!r} needs {name}={needed}. Take "
                    "projections='random', or leave that option out"
                )
    drawn = projections == "random"
    return {"projection_bias": not drawn, "norm": drawn, "feature_activation": activation} | layer_options


@torch.no_grad()
def fit_layers(
    teacher: nn.Module,
    student: nn.Module,
    chosen: Sequence[Chosen],
    batches: Stream,
    *,
    ridge: float,
    projections: str,
    sequential: bool = True,
) -> list[LayerReport]:
    """Fits the chosen layers of `student`, which are new, to the Linears of the same names in `teacher`.

    Args:
        teacher, student: any modules that are called with one batch.
        chosen: the layers in the order in which they run.
        batches, ridge, projections, sequential: as in `transfer`.

    Raises:
        ValueError: as `transfer`; and a layer that a batch does not reach.
    """
    seconds = dict.fromkeys((item.name for item in chosen), 0.0)
    eugen = [item for item in chosen if isinstance(student.get_submodule(item.name), EUGenLinear)]
    if eugen and projections != "random":
        start = time.perf_counter()
        _set_projections(teacher, student, eugen, batches, projections)
        for item in eugen:
            seconds[item.name] += (time.perf_counter() - start) / len(eugen)
    reports = []
    for items in [[item] for item in chosen] if sequential else [list(chosen)]:
        start = time.perf_counter()
        equations = _accumulate(teacher, student, items, batches, sequential)
        shared = (time.perf_counter() - start) / len(items)
        for item in items:
            start = time.perf_counter()
            report = _solve(teacher, student, item.name, equations[item.name], ridge)
            report.seconds = seconds[item.name] + shared + time.perf_counter() - start
            reports.append(report)
    return reports


def _set_projections(
    teacher: nn.Module, student: nn.Module, chosen: Sequence[Chosen], batches: Stream, projections: str
) -> None:
    """Takes the projections of EUGen layers from the teacher's inputs or neurons, all layers in one pass."""
    if projections == "principal":
        moments = _input_moments(teacher, student, chosen, batches)
    else:
        moments = _neuron_moments(teacher, student, chosen, batches, with_inputs=projections == "mixed")
    read: dict[str, Tensor] = {}
    for item in reversed(chosen):
        layer, linear = student.get_submodule(item.name), teacher.get_submodule(item.name)
        assert isinstance(layer, EUGenLinear) and isinstance(linear, nn.Linear)
        mean, _, covariance, cross = moments[item.name].moments()
        if projections == "principal":
            layer.set_projection_matrices(principal_projections(mean, covariance, layer))
            continue
        if item.reader is not None:
            reader = read.get(item.reader_name or "", item.reader)
            cross = cross @ reader[:, reader.shape[1] - linear.out_features :].to(cross).T
        if projections == "mixed":
            _check_linear_for_large_inputs(layer)
            matrices, rows = mixed_projections(linear, mean, covariance, cross, layer)
            layer.set_projection_matrices(matrices)
            read[item.name] = rows[:, :-1]
        else:
            picked = select_columns(covariance, cross, min(layer.num_features, linear.out_features))
            layer.set_projection_matrices(neuron_projections(linear, picked, layer))
            read[item.name] = linear.weight.detach()[picked]


def _check_linear_for_large_inputs(layer: EUGenLinear) -> None:
    points = torch.tensor([LINEAR_FROM, LINEAR_FROM + 4.0, LINEAR_FROM + 8.0])
    rise = get_activation(layer.feature_activation)(points).diff()
    if not bool(((rise - 4.0).abs() < 0.1).all()):
        raise ValueError(
            f"feature_activation {layer.feature_activation!r} is not linear for large inputs, which "
            "projections='mixed' needs (relu, gelu, silu, softplus and identity are); take 'neurons'"
        )


def _input_moments(
    teacher: nn.Module, student: nn.Module, chosen: Sequence[Chosen], batches: Stream
) -> dict[str, NormalEquations]:
    """Moments of the inputs of the teacher's layers, and of nothing else."""
    moments: dict[str, NormalEquations] = {}
    for batch, weights in batches:
        inputs, _ = record(teacher, batch, inputs=[item.name for item in chosen])
        for item in chosen:
            x, row_weights = as_rows(inputs[item.name], weights)
            _add(moments, student, item, x, x[:, :0], row_weights)
    return moments


def _neuron_moments(
    teacher: nn.Module, student: nn.Module, chosen: Sequence[Chosen], batches: Stream, with_inputs: bool
) -> dict[str, NormalEquations]:
    """Moments of what the teacher's neurons would be as features (with its inputs beside them), and of the targets."""
    moments: dict[str, NormalEquations] = {}
    names = [item.name for item in chosen]
    for batch, weights in batches:
        inputs, outputs = record(teacher, batch, inputs=names if with_inputs else (), outputs=names)
        for item in chosen:
            z, row_weights = as_rows(outputs[item.name], weights)
            layer = student.get_submodule(item.name)
            feature_activation = get_activation(layer.feature_activation)  # type: ignore[arg-type]
            f = feature_activation(z)
            if with_inputs:
                f = torch.cat([f, as_rows(inputs[item.name], None)[0]], dim=1)
            _add(moments, student, item, f, item.activation(z), row_weights)
    return moments


def _accumulate(
    teacher: nn.Module, student: nn.Module, items: Sequence[Chosen], batches: Stream, sequential: bool
) -> dict[str, NormalEquations]:
    """The normal equations of layers: their features on the student's (or the teacher's) inputs, and the targets."""
    names = [item.name for item in items]
    equations: dict[str, NormalEquations] = {}
    for batch, weights in batches:
        inputs, outputs = record(teacher, batch, inputs=() if sequential else names, outputs=names)
        if sequential:
            inputs, _ = record(student, batch, inputs=names)
        for item in items:
            layer = student.get_submodule(item.name)
            x, row_weights = as_rows(inputs[item.name], weights)
            z, _ = as_rows(outputs[item.name], None)
            f = layer.features(x) if isinstance(layer, FeatureLayer) else x
            _add(equations, student, item, f, item.activation(z), row_weights)
    return equations


def _add(
    equations: dict[str, NormalEquations],
    student: nn.Module,
    item: Chosen,
    features: Tensor,
    targets: Tensor,
    weights: Tensor | None,
) -> None:
    if item.name not in equations:
        bias = student.get_submodule(item.name).bias is not None
        equations[item.name] = NormalEquations(
            features.shape[-1], targets.shape[-1], features.device, bias=bias, name=item.name or "the layer"
        )
    equations[item.name].add(features, targets, weights)


def _solve(teacher: nn.Module, student: nn.Module, name: str, equations: NormalEquations, ridge: float) -> LayerReport:
    layer, linear = student.get_submodule(name), teacher.get_submodule(name)
    if isinstance(layer, FeatureLayer):
        solver, weight, bias = fit_features(layer, equations, ridge)
    else:
        solver, weight, bias = fit_linear(layer, equations, ridge)
    return LayerReport(
        name=name,
        relative_error=equations.relative_error(weight, bias),
        features=equations.num_features,
        solver=solver,
        seconds=0.0,
        parameters_before=sum(parameter.numel() for parameter in linear.parameters()),
        parameters_after=sum(parameter.numel() for parameter in layer.parameters()),
        multiplications_before=layer_multiplications(linear),
        multiplications_after=layer_multiplications(layer),
    )
