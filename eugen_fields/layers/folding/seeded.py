"""Folded stages whose random matrix stays drawn from its seed, so that it is not stored."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, identity
from eugen_fields.layers.folding.folded import Stage, passes_scale
from eugen_fields.layers.layer import Affine, Names
from eugen_fields.layers.prp import PRPLinear
from eugen_fields.layers.random_matrices import prp_matrix
from eugen_fields.layers.seeded import SeededMatrix


class SeededStage(SeededMatrix, Stage):
    """Base of stages that keep a seed in place of a matrix. They read their values side by side."""

    out_features: int

    def input_scale(self) -> tuple[Tensor, Names] | None:
        """The element-wise scale that everything which the stage reads goes through, and the entries it came from;
        None where there is none."""
        return None

    def drop_input_scale(self) -> None:
        """Leaves the scale to the stage before."""


@functools.singledispatch
def seeded_stage(layer: nn.Module, prefix: str, reads: tuple[str, ...], activation: Activation) -> SeededStage | None:
    """The folded form of a layer, and of the activation behind it, that keeps its seed; None for kinds that have none.

    Args:
        prefix: of the names of the layer's entries.
        reads: names of the values which the layer reads side by side.
    """
    return None


def has_seeded_stage(layer: nn.Module) -> bool:
    """Whether layers of this type have a folded form that keeps their seed."""
    return seeded_stage.dispatch(type(layer)) is not seeded_stage.dispatch(object)


class FoldedPRP(SeededStage):
    """activation(P^T (v * alpha) * w + B A v + b) with P regenerated from its seed, v the values read, side by side.

    alpha, w and b are None where a neighbouring stage has taken them over.
    """

    seed: Tensor
    projection: Tensor
    alpha: Tensor | None
    scale: Tensor | None
    bias: Tensor | None
    down: Tensor | None
    up: Tensor | None

    def __init__(self, layer: PRPLinear, prefix: str, reads: tuple[str, ...], activation: Activation) -> None:
        super().__init__()
        self.in_features = layer.in_features
        self.out_features = layer.out_features
        self.matrix = layer.matrix
        self.reads = reads
        self.activation = activation
        self._seeded = {"projection": "_draw"}
        self.register_buffer("projection", layer.projection.clone(), persistent=False)
        self.register_buffer("seed", layer.seed.clone())
        self.sources = {"seed": (f"{prefix}seed",)}
        for name in ("alpha", "scale", "bias", "down", "up"):
            value = getattr(layer, name, None)
            self.register_buffer(name, None if value is None else value.detach().clone())
            if value is not None:
                self.sources[name] = (f"{prefix}{name}",)

    def _draw(self, seed: int) -> Tensor:
        return prp_matrix(self.matrix, self.in_features, self.out_features, seed)

    def _drop(self, *names: str) -> None:
        for name in names:
            setattr(self, name, None)
            self.sources.pop(name, None)

    def input_scale(self) -> tuple[Tensor, Names] | None:
        if self.alpha is None or self.down is not None or len(self.reads) > 1:
            return None
        return self.alpha, self.sources["alpha"]

    def drop_input_scale(self) -> None:
        self._drop("alpha")

    def scale_output(self, scale: Tensor, names: Names) -> bool:
        if self.scale is None or not passes_scale(self.activation, scale):
            return False
        self._scale_entries(("scale", "bias", "up"), scale, names)
        return True

    def take_output_scale(self) -> Affine | None:
        """diag(w) and b, if the output is nothing but P^T (v * alpha) * w + b."""
        if self.scale is None or self.up is not None or self.activation is not identity:
            return None
        bias = torch.zeros_like(self.scale) if self.bias is None else self.bias
        taken = Affine(torch.diag(self.scale), bias, self.sources["scale"], self.sources.get("bias", ()))
        self._drop("scale", "bias")
        return taken

    def multiplications(self) -> int:
        return sum(matrix.numel() for matrix in (self.projection, self.down, self.up) if matrix is not None)

    def forward(self, values) -> Tensor:
        read = [values[name] for name in self.reads]
        v = read[0] if len(read) == 1 else torch.cat(read, dim=-1)
        y = F.linear(v if self.alpha is None else v * self.alpha, self.projection)
        if self.scale is not None:
            y = y * self.scale
        if self.bias is not None:
            y = y + self.bias
        if self.down is not None and self.up is not None:
            y = y + F.linear(F.linear(v, self.down), self.up)
        return self.activation(y)


@seeded_stage.register
def _(layer: PRPLinear, prefix: str, reads: tuple[str, ...], activation: Activation) -> SeededStage | None:
    return FoldedPRP(layer, prefix, reads, activation)
