"""Layer-wise knowledge transfer: a student whose layers are fitted in closed form to those of a trained MLP.

Source: "EUGens: Efficient, Unified, and General Dense Layers" (Kim et al., NeurIPS 2025, arXiv 2410.09771). The fit of
one layer is in layerwise.py, the fine-tuning after it in finetune.py.
"""

import copy
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from eugen_fields.layers.activations import identity
from eugen_fields.layers.fitting.finetune import ShowProgress, distill, output_error
from eugen_fields.layers.fitting.layerwise import Chosen, LayerReport, fit_layers, with_fit_defaults
from eugen_fields.layers.fitting.recording import Batch, Stream
from eugen_fields.layers.folding.fold import fold
from eugen_fields.layers.mlp import MLP

__all__ = ["LayerReport", "TransferReport", "transfer"]


@dataclass
class TransferReport:
    """What became of a network."""

    layers: list[LayerReport]
    relative_error: float
    """Relative error of the student's output on the inputs, measured as in LayerReport."""
    samples: int
    """Number of samples of positive weight."""
    fit_seconds: float
    finetune_seconds: float
    parameters_before: int
    parameters_after: int
    multiplications_before: int
    """Multiplications of the folded teacher's matrix products, for one input."""
    multiplications_after: int
    """Multiplications of the folded student's matrix products, for one input."""

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, for JSON."""
        return asdict(self)

    def markdown(self) -> str:
        """A table with one row per layer."""
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
    progress: ShowProgress | None = None,
    **layer_options: Any,
) -> tuple[MLP, TransferReport]:
    """A student whose chosen layers are of another kind and fitted to a trained teacher without backpropagation.

    Args:
        teacher: a trained MLP whose chosen layers are dense. It is left alone.
        inputs: what the network meets in use: a tensor (N, ..., in_dim), or something that can be iterated over several
            times and yields such tensors or pairs (tensor, weights (N,)) with weights of at least 0. Nothing of it is
            kept but second moments, so N is not bounded by memory.
        layer: kind of the new layers, one of kinds.replacements().
        replace: indices of the layers to replace; None means every layer from layer_width to layer_width.
        ridge: penalty relative to the mean square of the features.
        finetune_steps: steps of Adam on the new layers afterwards, with the Huber loss between the outputs of student
            and teacher (each output divided by its spread). A few steps may do harm; the closed form is kept where the
            error on the inputs is not lower afterwards. 0 for none.
        projections: of EUGen layers: "neurons" (neurons of the trained layer that explain what the next layer reads
            best), "mixed" (those and linear functions of the inputs, whichever explain more: for activations that are
            nearly linear where they are used), "principal" (principal directions of the inputs) or "random" (as
            drawn). Orders above 1 multiply projections, for which neither neurons nor directions mean anything: they
            need "random".
        sequential: fit each layer on the student's own activations, so that later layers make up for the errors of
            earlier ones; False fits all of them on the teacher's in one pass.
        learning_rate, batch_size: of the fine-tuning.
        seed: of the new layers' random numbers and of the fine-tuning's batches.
        progress: shows the fine-tuning's progress, for instance tqdm.tqdm.
        layer_options: options of the new layers. Unless told otherwise EUGen layers get the teacher's activation as
            feature_activation, and projection_bias=True and norm=False where the projections are not random.

    Returns:
        the student, and a report for each layer and for the whole network.

    Raises:
        ValueError: an option outside what is offered, layers that are not dense, fewer samples than features, inputs
            of another width or that can be iterated over only once, NaN or infinity in inputs or activations.
    """
    if finetune_steps < 0:
        raise ValueError(f"finetune_steps is {finetune_steps}; it must be 0 (no fine-tuning) or more")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
    batches = Stream(inputs)
    options = with_fit_defaults(layer, projections, teacher.activation, layer_options)
    student = teacher.with_layers(layer, replace, seed=seed, **options)
    if not student.replace:
        raise ValueError("there is nothing to replace: the teacher has no layer from layer_width to layer_width")
    first = next(iter(batches))[0]
    if first.dim() < 2 or first.shape[-1] != teacher.in_dim:
        raise ValueError(f"inputs have shape {tuple(first.shape)}; the teacher takes (N, ..., {teacher.in_dim})")
    start = time.perf_counter()
    chosen = [_chosen(teacher, student, index) for index in student.replace]
    layers = fit_layers(teacher, student, chosen, batches, ridge=ridge, projections=projections, sequential=sequential)
    fit_seconds = time.perf_counter() - start
    error, samples = output_error(teacher, student, batches)
    finetune_seconds = 0.0
    if finetune_steps > 0:
        start = time.perf_counter()
        closed_form = copy.deepcopy(student.state_dict())
        distill(
            teacher,
            student,
            [parameter for index in student.replace for parameter in student.layers[index].parameters()],
            batches,
            finetune_steps,
            learning_rate=learning_rate,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
        )
        tuned_error, _ = output_error(teacher, student, batches)
        if tuned_error < error:
            error = tuned_error
        else:
            student.load_state_dict(closed_form)
        finetune_seconds = time.perf_counter() - start
    return student, TransferReport(
        layers=layers,
        relative_error=error,
        samples=samples,
        fit_seconds=fit_seconds,
        finetune_seconds=finetune_seconds,
        parameters_before=sum(parameter.numel() for parameter in teacher.parameters()),
        parameters_after=sum(parameter.numel() for parameter in student.parameters()),
        multiplications_before=_folded_multiplications(teacher),
        multiplications_after=_folded_multiplications(student),
    )


def _chosen(teacher: MLP, student: MLP, index: int) -> Chosen:
    """Layer `index` of an MLP as one to fit."""
    own = teacher.activation_of(index) if student.activation_of(index) is not teacher.activation_of(index) else identity
    name = f"layers.{index}"
    follower = teacher.layers[index + 1] if index + 1 < len(teacher.layers) else None
    if not isinstance(follower, nn.Linear):
        return Chosen(name, own)
    # what a skip connection adds comes first
    read = follower.weight.detach()[:, follower.in_features - teacher.layers[index].out_features :]  # type: ignore[operator]
    return Chosen(name, own, read, f"layers.{index + 1}")


def _folded_multiplications(mlp: MLP) -> int:
    plain = mlp.with_layers("dense", ())  # a copy without hooks, which would keep it from being folded
    return fold(plain).multiplications()  # type: ignore[operator]
