"""Stages: what a folded network is read into before a kernel is written for it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from eugen_fields.kernels.unsupported import Unsupported, part
from eugen_fields.layers.activations import ACTIVATIONS, Activation
from eugen_fields.layers.folding.folded import FoldedMLP, FoldedStage, Joined, value_name
from eugen_fields.layers.folding.seeded import FoldedPRP

NARROWEST, WIDEST = 16, 256
"""Columns that the value behind a hidden stage may have: it stays on the chip."""
HIGHEST_ORDER = 2
INPUT = -1
"""Index of the input of a chain among the values of its stages."""


class Hadamard(NamedTuple):
    """The square matrix diag(outer) H_n diag(inner), H_n Sylvester's: shapes (n,), float64 on the CPU."""

    outer: Tensor
    inner: Tensor


class Stage(NamedTuple):
    """activation(products(weight f + skip u + norm_column |[u; h]| + bias)), h = norm_weight f + norm_bias or f itself.

    f is the value of the stage before, u the values of `beside` side by side: INPUT is the input of the chain, i the
    value of stage i. The entries are those of layers.folding.FoldedStage, float64 on the CPU; PRP stages have their
    matrix written out, and where `hadamard` is there it is the same. `activation` is a name.
    """

    weight: Tensor
    bias: Tensor
    skip: Tensor | None
    norm_column: Tensor | None
    norm_weight: Tensor | None
    norm_bias: Tensor | None
    products: tuple[int, int, bool] | None
    activation: str
    hadamard: Hadamard | None = None
    beside: tuple[int, ...] = (INPUT,)

    @property
    def features(self) -> int:
        """Columns of the stage's value."""
        return self.weight.shape[0] if self.products is None else self.products[0] * self.products[1]

    @property
    def is_affine(self) -> bool:
        """Whether it is nothing but weight f + skip u + bias."""
        return self.activation == "identity" and self.products is None and self.norm_column is None


def affine_stage(weight: Tensor, bias: Tensor, skip: Tensor | None, activation: str = "identity") -> Stage:
    """activation(weight f + skip u + bias), u the input of the chain."""
    return Stage(weight, bias, skip, None, None, None, None, activation)


def read_stages(mlp: nn.Module, in_dim: int) -> list[Stage]:
    """The stages of a folded MLP that reads x (B, in_dim).

    Raises:
        Unsupported: they cannot be fused.
    """
    if not isinstance(mlp, FoldedMLP):
        raise Unsupported(f"a {type(mlp).__name__} does not fold into a chain of stages")
    stages: list[Stage] = []
    for index, module in enumerate(mlp.stages):
        with part(f"stage {index}"):
            stage = _read_stage(module, index - 1, stages[-1].features if stages else in_dim)
        if index < len(mlp.stages) - 1 and not NARROWEST <= stage.features <= WIDEST:
            raise Unsupported(f"stage {index} is {stage.features} wide; {NARROWEST} to {WIDEST} can be fused")
        stages.append(stage)
    return stages


def _read_stage(module: nn.Module, before: int, width: int) -> Stage:
    """A stage behind stage `before`, whose value is f and `width` wide."""
    if isinstance(module, Joined):
        raise Unsupported("it is several values side by side, which no linear layer reads")
    if not isinstance(module, FoldedStage | FoldedPRP):
        raise Unsupported(f"a {type(module).__name__} cannot be fused")
    previous = value_name(before)
    first, *others = reversed(module.reads) if isinstance(module, FoldedPRP) else module.reads
    if first != previous:
        names = ", ".join(module.reads)
        raise Unsupported(f"it reads {names}; what reads {previous}, and others beside it, can be fused")
    if isinstance(module, FoldedStage) and module.squared_norm:
        raise Unsupported("SNNK features cannot be fused")
    name = activation_name(module.activation)
    if name is None:
        raise Unsupported("its activation is none of layers.activations")
    index_of = {value_name(index): index for index in range(INPUT, before)}
    if isinstance(module, FoldedPRP):
        return _read_prp(module, width, name)._replace(beside=tuple(index_of[other] for other in reversed(others)))
    if module.products is not None and module.products[1] > HIGHEST_ORDER:
        raise Unsupported(f"order {module.products[1]}; up to {HIGHEST_ORDER} can be fused")
    weights = module.weights
    skip = torch.cat([_double(weights[other]) for other in others], dim=1) if others else None
    return Stage(
        _double(weights[previous]),
        _double(module.bias),
        skip,
        _double_or_none(module.norm_column),
        _double_or_none(module.norm_weight),
        _double_or_none(module.norm_bias),
        module.products,
        name,
        beside=tuple(index_of[other] for other in others),
    )


def _read_prp(module: FoldedPRP, width: int, name: str) -> Stage:
    """diag(w) P^T diag(alpha) + B A written out, its columns split into those of u and of f."""
    weight = _double(module.projection)
    if module.alpha is not None:
        weight = weight * _double(module.alpha)
    if module.scale is not None:
        weight = weight * _double(module.scale)[:, None]
    if module.down is not None and module.up is not None:
        weight = weight + _double(module.up) @ _double(module.down)
    bias = weight.new_zeros(len(weight)) if module.bias is None else _double(module.bias)
    skip, weight = weight.split([module.in_features - width, width], dim=1)
    has_skip = len(module.reads) > 1
    stage = affine_stage(weight, bias, skip if has_skip else None, name)
    return stage if has_skip or module.down is not None else stage._replace(hadamard=_read_hadamard(module))


def _read_hadamard(module: FoldedPRP) -> Hadamard | None:
    """The factors of a square Hadamard matrix between its scales; None for others."""
    size = module.in_features
    if module.matrix != "hadamard" or module.out_features != size or size & (size - 1):
        return None
    inner = _double(module.projection[0])  # the first row of H_n is all ones
    inner = inner if module.alpha is None else inner * _double(module.alpha)
    return Hadamard(torch.ones_like(inner) if module.scale is None else _double(module.scale), inner)


def activation_name(activation: Activation) -> str | None:
    """Its name in layers.activations, None for a function that is not there."""
    return next((name for name, function in ACTIVATIONS.items() if function is activation), None)


def _double(value: Tensor) -> Tensor:
    return value.detach().to("cpu", torch.float64)


def _double_or_none(value: Tensor | None) -> Tensor | None:
    return None if value is None else _double(value)
