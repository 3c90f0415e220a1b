"""Layer-wise knowledge transfer: new layers fitted in closed form to the inputs and outputs of a trained network.

Source: "EUGens: Efficient, Unified, and General Dense Layers" (Kim et al., NeurIPS 2025, arXiv 2410.09771): with the
projections fixed, the weight side of a layer is the solution of a ridge regression of the trained layer's outputs on the
new layer's features. This library adds where the projections come from: neurons of the trained layer itself, picked one
by one, lose far less than random ones.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, identity
from eugen_fields.layers.eugen import EUGenLinear
from eugen_fields.layers.fitting import (
    PROJECTION_CHOICES,
    fit_features,
    fit_linear,
    neuron_projections,
    principal_projections,
    select_columns,
)
from eugen_fields.layers.fold import fold
from eugen_fields.layers.mlp import MLP
from eugen_fields.layers.recording import Batch, Stream, evaluation_mode, record
from eugen_fields.layers.regression import NormalEquations

Progress = Callable[[Iterable], Iterable]
"""Wraps an iterable to show its progress, as tqdm does."""


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
    """Features that the fit could use (for PRP: inputs)."""
    solver: str
    """cholesky, pseudo-inverse (singular equations) or alternating least squares."""
    seconds: float
    parameters_before: int
    parameters_after: int
    multiplications_before: int
    """Of the matrix products for one input, unfolded."""
    multiplications_after: int


@dataclass
class TransferReport:
    """What became of a network."""

    layers: list[LayerReport]
    relative_error: float
    """Of the student's output on the inputs, measured as in LayerReport."""
    samples: int
    fit_seconds: float
    finetune_seconds: float
    parameters_before: int
    parameters_after: int
    multiplications_before: int
    """Of the folded teacher, for one input."""
    multiplications_after: int
    """Of the folded student."""

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, for JSON."""
        return asdict(self)

    def markdown(self) -> str:
        """A table, one row a layer."""
        rows = [
            "| layer | relative error | features | solver | seconds | parameters | multiplications |",
            "|---|---|---|---|---|---|---|",
        ]
        rows += [
            f"| {layer.name} | {layer.relative_error:.4f} | {layer.features} | {layer.solver} | {layer.seconds:.2f} "
            f"| {layer.parameters_before:,} -> {layer.parameters_after:,} "
            f"| {layer.multiplications_before:,} -> {layer.multiplications_after:,} |"
            for layer in self.layers
        ]
        rows.append(
            f"| network, folded | {self.relative_error:.4f} | | | {self.fit_seconds + self.finetune_seconds:.2f} "
            f"| {self.parameters_before:,} -> {self.parameters_after:,} "
            f"| {self.multiplications_before:,} -> {self.multiplications_after:,} |"
        )
        return "\n".join(rows)


def transfer(
    teacher: MLP,
    inputs: Tensor | Iterable[Batch],
    *,
    layer: str,
    replace: Sequence[int] | None = None,
    ridge: float = 1e-6,
    finetune_steps: int = 0,
    projections: str = "neurons",
    sequential: bool = True,
    learning_rate: float = 3e-3,
    batch_size: int = 4096,
    seed: int = 0,
    progress: Progress | None = None,
    **layer_options: Any,
) -> tuple[MLP, TransferReport]:
    """A student whose chosen layers are of another kind and fitted to a trained teacher without backpropagation.

    Args:
        teacher: a trained MLP whose chosen layers are dense. It is left alone.
        inputs: what the network meets in use: a tensor (N, in_dim), or something that can be iterated over several
            times and yields such tensors or pairs (tensor, weights (N,)) with weights of at least 0. Nothing of it is
            kept but second moments, so N is not bounded by memory.
        layer: kind of the new layers: eugen, prp, low-rank or snnk.
        replace: indices of the layers to replace; None means every layer from layer_width to layer_width.
        ridge: penalty relative to the mean square of the features.
        finetune_steps: steps of Adam on the new layers afterwards, with the Huber loss between the outputs of student
            and teacher (each output divided by its spread); 0 leaves the closed form as it is.
        projections: EUGen: "neurons" (order 1: neurons of the trained layer that explain what the next layer reads
            best), "principal" (principal directions of the inputs) or "random" (as drawn). Orders above 1 multiply
            projections, so neurons say nothing there: they need another choice.
        sequential: fit each layer on the student's own activations, so that later layers make up for the errors of
            earlier ones; False fits all of them on the teacher's in one pass.
        learning_rate, batch_size: of the fine-tuning.
        seed: of the new layers' random numbers and of the fine-tuning's batches.
        progress: shows the fine-tuning's progress, for instance tqdm.tqdm.
        layer_options: options of the new layers. EUGen layers get projection_bias=True and, where the projections are
            neurons, norm=False unless told otherwise; feature_activation is the teacher's activation.

    Returns:
        the student, and a report for each layer and for the whole network.

    Raises:
        ValueError: an option outside what is offered, layers that are not dense, fewer samples than features, inputs
            that can be iterated over only once, NaN or infinity in inputs or activations.
    """
    _check_choice(layer, projections, layer_options, finetune_steps)
    batches = Stream(inputs)
    options = dict(layer_options)
    if layer == "eugen":
        options.setdefault("projection_bias", projections != "random")
        options.setdefault("norm", projections == "random")
        options.setdefault("feature_activation", teacher.activation)
    student = teacher.with_layers(layer, replace, seed=seed, **options)
    chosen = [_chosen(teacher, student, index) for index in student.replace]
    start = time.perf_counter()
    layers = fit_layers(teacher, student, chosen, batches, ridge=ridge, projections=projections, sequential=sequential)
    fitted = time.perf_counter()
    if finetune_steps > 0:
        trained = [parameter for index in student.replace for parameter in student.layers[index].parameters()]
        distill(
            teacher,
            student,
            trained,
            batches,
            finetune_steps,
            learning_rate=learning_rate,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
        )
    done = time.perf_counter()
    error, samples = output_error(teacher, student, batches)
    return student, TransferReport(
        layers=layers,
        relative_error=error,
        samples=samples,
        fit_seconds=fitted - start,
        finetune_seconds=done - fitted,
        parameters_before=sum(parameter.numel() for parameter in teacher.parameters()),
        parameters_after=sum(parameter.numel() for parameter in student.parameters()),
        multiplications_before=fold(teacher).multiplications(),  # type: ignore[operator]
        multiplications_after=fold(student).multiplications(),  # type: ignore[operator]
    )


def _check_choice(layer: str, projections: str, options: dict[str, Any], finetune_steps: int) -> None:
    if layer == "dense":
        raise ValueError("layer is 'dense': the teacher already is; choose eugen, prp, low-rank or snnk")
    if projections not in PROJECTION_CHOICES:
        raise ValueError(f"projections is {projections!r}; it must be one of {', '.join(PROJECTION_CHOICES)}")
    if layer == "eugen" and projections != "random":
        for name, needed in (("order", 1), ("train_projections", True), ("projection_bias", True)):
            if options.get(name, needed) != needed:
                raise ValueError(
                    f"{name} is {options[name]}; projections={projections!r} needs {name}={needed}. Take "
                    "projections='random', or leave that option out"
                )
    if finetune_steps < 0:
        raise ValueError(f"finetune_steps is {finetune_steps}; it must be 0 or more")


def fit_layers(
    teacher: nn.Module,
    student: nn.Module,
    chosen: Sequence[Chosen],
    batches: Stream,
    *,
    ridge: float,
    projections: str,
    sequential: bool,
) -> list[LayerReport]:
    """Fits the chosen layers of `student`, which are new, to the Linears of the same names in `teacher`.

    Args:
        teacher, student: any modules that are called with one batch.
        chosen: the layers in the order in which they run.
        batches, ridge, projections, sequential: as in `transfer`.

    Raises:
        ValueError: as `transfer`; and a layer that a batch does not reach.
    """
    with torch.no_grad():
        seconds = dict.fromkeys((item.name for item in chosen), 0.0)
        if projections != "random":
            _set_projections(teacher, student, chosen, batches, projections, seconds)
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


def _chosen(teacher: MLP, student: MLP, index: int) -> Chosen:
    """Layer `index` of an MLP as one to fit."""
    own = teacher.activation_of(index) if student.activation_of(index) is not teacher.activation_of(index) else identity
    if index + 1 == len(teacher.layers):
        return Chosen(f"layers.{index}", own)
    follower = teacher.layers[index + 1]
    reader = follower.weight.detach() if isinstance(follower, nn.Linear) else None
    if reader is not None:  # what a skip connection adds comes first
        reader = reader[:, -teacher.layers[index].out_features :]  # type: ignore[index]
    return Chosen(f"layers.{index}", own, reader, f"layers.{index + 1}")


def _set_projections(
    teacher: nn.Module,
    student: nn.Module,
    chosen: Sequence[Chosen],
    batches: Stream,
    projections: str,
    seconds: dict[str, float],
) -> None:
    """Takes the projections of EUGen layers from the teacher's neurons or from its inputs, all in one pass."""
    items = [item for item in chosen if isinstance(student.get_submodule(item.name), EUGenLinear)]
    if not items:
        return
    start = time.perf_counter()
    names = [item.name for item in items]
    moments: dict[str, NormalEquations] = {}
    for batch, weights in batches:
        inputs, outputs = record(teacher, batch, inputs=names, outputs=names)
        for item in items:
            values = inputs[item.name] if projections == "principal" else item.activation(outputs[item.name])
            values = values.flatten(0, -2)
            if item.name not in moments:
                moments[item.name] = NormalEquations(values.shape[-1], 0, values.device)
            moments[item.name].add(values, values[:, :0], weights)
    picked: dict[str, list[int]] = {}
    for item in reversed(items):
        layer, linear = student.get_submodule(item.name), teacher.get_submodule(item.name)
        assert isinstance(layer, EUGenLinear) and isinstance(linear, nn.Linear)
        mean, covariance, _ = moments[item.name].centered()
        if projections == "principal":
            layer.set_projection_matrices(principal_projections(mean, covariance, layer))
            continue
        reader = item.reader
        if reader is not None and item.reader_name in picked:
            reader = reader[picked[item.reader_name]]
        cross = covariance if reader is None else covariance @ reader.double().T
        picked[item.name] = select_columns(covariance, cross, min(layer.num_features, linear.out_features))
        layer.set_projection_matrices(neuron_projections(linear, picked[item.name], layer))
    for name in names:
        seconds[name] += (time.perf_counter() - start) / len(names)


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
            x = inputs[item.name].flatten(0, -2)
            f = layer.features(x) if hasattr(layer, "features") else x  # type: ignore[operator]
            y = item.activation(outputs[item.name]).flatten(0, -2)
            if item.name not in equations:
                equations[item.name] = NormalEquations(f.shape[-1], y.shape[-1], f.device)
            equations[item.name].add(f, y, weights)
    return equations


def _solve(teacher: nn.Module, student: nn.Module, name: str, equations: NormalEquations, ridge: float) -> LayerReport:
    layer, linear = student.get_submodule(name), teacher.get_submodule(name)
    fit = fit_features if hasattr(layer, "features") else fit_linear
    solver, weight, bias = fit(layer, equations, ridge)
    return LayerReport(
        name=name,
        relative_error=equations.relative_error(weight, bias),
        features=equations.num_features,
        solver=solver,
        seconds=0.0,
        parameters_before=sum(parameter.numel() for parameter in linear.parameters()),
        parameters_after=sum(parameter.numel() for parameter in layer.parameters()),
        multiplications_before=_matrix_sizes(linear),
        multiplications_after=_matrix_sizes(layer),
    )


def _matrix_sizes(layer: nn.Module) -> int:
    """Multiplications of a layer's matrix products for one input: the sizes of its matrices, fixed ones included."""
    tensors = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    return sum(tensor.numel() for tensor in tensors if tensor.dim() == 2)


def distill(
    teacher: nn.Module,
    student: nn.Module,
    trained: Sequence[nn.Parameter],
    batches: Stream,
    steps: int,
    *,
    learning_rate: float,
    batch_size: int,
    seed: int,
    progress: Progress | None,
) -> None:
    """Adam on the `trained` parameters of the student: Huber loss between both outputs, each divided by its spread."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(trained, lr=learning_rate, betas=(0.9, 0.99))
    decay = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1, pct_start=0.05)
    with evaluation_mode(teacher), evaluation_mode(student):
        with torch.no_grad():
            spread = teacher(next(iter(batches))[0]).flatten(0, -2).std(dim=0).clamp(min=1e-6)
        minibatches = batches.minibatches(batch_size, generator)
        for _ in progress(range(steps)) if progress else range(steps):
            batch, weights = next(minibatches)
            with torch.no_grad():
                target = teacher(batch) / spread
            losses = F.huber_loss(student(batch) / spread, target, reduction="none").mean(dim=-1)
            loss = losses.mean() if weights is None else (losses * weights).sum() / weights.sum().clamp(min=1e-12)
            for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained)):
                parameter.grad = gradient
            optimizer.step()
            decay.step()


@torch.no_grad()
def output_error(teacher: nn.Module, student: nn.Module, batches: Stream) -> tuple[float, int]:
    """|student - teacher| over |teacher - its mean| over all outputs and samples, and the number of samples."""
    error = count = 0.0
    total = squares = torch.zeros((), dtype=torch.float64)
    samples = 0
    with evaluation_mode(teacher), evaluation_mode(student):
        for batch, weights in batches:
            target = teacher(batch).flatten(0, -2).double()
            weight = (torch.ones_like(target[:, 0]) if weights is None else weights.double())[:, None]
            error += float((weight * (student(batch).flatten(0, -2) - target).square()).sum())
            total = total + (weight * target).sum(dim=0)
            squares = squares + (weight * target.square()).sum(dim=0)
            count += float(weight.sum())
            samples += len(target)
    spread = float((squares - total.square() / count).clamp(min=0.0).sum())
    return (error / max(spread, 1e-300)) ** 0.5, samples
