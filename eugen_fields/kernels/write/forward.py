"""Writes stages and encodings into the program of a kernel. Everything below also works where each point has tangent
rows (ProgramWriter.tangents)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from eugen_fields.encodings import FrequencyEncoding, IntegratedEncoding
from eugen_fields.kernels.stages.stage import INPUT, Hadamard, Stage
from eugen_fields.kernels.write.elementwise import activated, multiplied, norm
from eugen_fields.kernels.write.program import ProgramWriter, Term, Value, split_width

NARROW = 16
"""Padded width of densities, colours and distances."""


class AffineMap:
    """weight f + skip u + norm_column |[u; h]| + bias of a stage, rows by rows; its norm is computed once.

    `norm` names the variable (B,) that holds |[u; h]|, None without a norm column.
    """

    def __init__(self, writer: ProgramWriter, stage: Stage, f: Value, u: Value) -> None:
        self._writer, self._stage, self._f, self._u = writer, stage, f, u
        self.norm: str | None = None
        if stage.norm_column is not None:
            self.norm = _write_norm(writer, stage, f, u)

    def rows(self, start: int, width: int, size: int) -> str:
        """Adds some rows, before the activation; returns the name of a variable (B, size)."""
        writer, stage = self._writer, self._stage
        chosen = slice(start, start + width)
        z = writer.affine(_terms(stage, self._f, self._u, chosen), stage.bias[chosen], size)
        if self.norm is not None and stage.norm_column is not None:
            writer.line(f"{z} = {z} + outer({self.norm}, {writer.row(stage.norm_column[chosen], size)})")
        return z


class Products(NamedTuple):
    """One piece of the projections behind the features of order 2: variables (B, size)."""

    width: int
    size: int
    single: str
    left: str
    right: str


def write_products(affine: AffineMap, products: tuple[int, int, bool], piece: int) -> list[Products]:
    """Adds G_11 x, G_21 x and G_22 x, where G_21 is G_11 if projections are shared: layers.eugen.product_features."""
    num_features, _, shared = products
    result, start = [], 0
    for width, size in split_width(num_features, piece):
        single = affine.rows(start, width, size)
        left = single if shared else affine.rows(num_features + start, width, size)
        right = affine.rows((1 if shared else 2) * num_features + start, width, size)
        result.append(Products(width, size, single, left, right))
        start += width
    return result


def described(stage: Stage) -> str:
    """The stage in words, for a comment: "63 -> 64, relu"."""
    inputs = str(stage.weight.shape[1])
    if stage.skip is not None:
        others = "" if stage.beside == (INPUT,) else " and earlier stages"
        inputs += f" + {stage.skip.shape[1]} of the input{others}"
    words = [f"{inputs} -> {stage.features}"]
    if stage.norm_column is not None:
        words.append("norm of the input")
    if stage.products is not None:
        words.append(f"products up to order {stage.products[1]}")
    return ", ".join([*words, "linear" if stage.activation == "identity" else stage.activation])


def side_by_side(stage: Stage, x: Value, values: Sequence[Value]) -> Value:
    """What the skip connection of a stage reads, from the input and the values of the stages; empty without one."""
    if stage.skip is None:
        return []
    return [piece for index in stage.beside for piece in (x if index == INPUT else values[index])]


def write_stage(writer: ProgramWriter, stage: Stage, f: Value, u: Value) -> Value:
    """Adds a stage that reads f (B, width) and, where it has a skip connection, u; returns its value."""
    affine = AffineMap(writer, stage, f, u)
    if stage.products is not None:
        products = write_products(affine, stage.products, writer.piece)
        singles = [(activated(writer, stage.activation, p.single), p.width, p.size) for p in products]
        doubles = [
            (activated(writer, stage.activation, multiplied(writer, p.left, p.right)), p.width, p.size)
            for p in products
        ]
        return [writer.rounded(*piece) for piece in singles + doubles]
    if stage.hadamard is not None and len(stage.weight) > writer.piece:
        return _write_hadamard(writer, stage, stage.hadamard, f)
    result, start = [], 0
    for width, size in split_width(len(stage.weight), writer.piece):
        z = affine.rows(start, width, size)
        result.append(writer.rounded(activated(writer, stage.activation, z), width, size))
        start += width
    return result


def _write_hadamard(writer: ProgramWriter, stage: Stage, matrix: Hadamard, f: Value) -> Value:
    """Adds a stage whose matrix has the factors of a Hadamard matrix; returns its value."""
    size = writer.piece
    result = []
    parts = writer.hadamard_product(f, matrix.inner, size)
    for z, outer, bias in zip(parts, matrix.outer.split(size), stage.bias.split(size), strict=True):
        writer.line(f"{z} = {z} * {writer.row(outer, size)} + {writer.values_only(writer.row(bias, size))}")
        result.append(writer.rounded(activated(writer, stage.activation, z), size, size))
    return result


def write_output(writer: ProgramWriter, stage: Stage, f: Value, u: Value) -> str:
    """Adds an affine stage of at most NARROW rows; returns the name of a float32 variable (B, NARROW)."""
    z = writer.affine(_terms(stage, f, u, slice(None)), stage.bias, NARROW)
    return writer.let("y", activated(writer, stage.activation, z))


def _terms(stage: Stage, f: Value, u: Value, rows: slice) -> list[Term]:
    terms = [Term(f, stage.weight[rows])]
    return terms if stage.skip is None else [*terms, Term(u, stage.skip[rows])]


def _write_norm(writer: ProgramWriter, stage: Stage, f: Value, u: Value) -> str:
    """Adds |[u; h]| of a stage's norm column; returns the name of a variable (B,)."""
    direct = ([] if stage.skip is None else u) + (f if stage.norm_weight is None else [])
    values, constant = [piece.name for piece in direct], None
    if stage.norm_weight is not None and stage.norm_bias is not None:
        weight, bias = stage.norm_weight, stage.norm_bias
        rows, columns = weight.shape
        triangular = rows == columns + 1 and torch.equal(weight, weight.triu())
        if triangular:  # the factor of layers.folding.chain: its last row is the same for every point
            constant = f"load_scalar(vectors, {writer.vector(bias[-1:] ** 2)})"
            rows = columns
        start = 0
        for width, size in split_width(rows, writer.piece):
            chosen = slice(start, start + width)
            z = writer.affine([Term(f, weight[chosen])], bias[chosen], size, zero_columns=start if triangular else 0)
            values.append(z)
            start += width
    return norm(writer, values, constant)


def encoding_table(encoding: FrequencyEncoding | IntegratedEncoding) -> tuple[Tensor, bool]:
    """The table (5, out_dim) that ops.waves reads, and whether its columns are in half turns.

    Both encodings hold the coordinates, then sines by octave and within it by direction, then as many cosines. Half
    turns times 2^k are exact, as IntegratedEncoding has them; FrequencyEncoding multiplies by 2^k pi rounded to float32
    and so must the kernel: the tenth octave turns that rounding into 1e-4.
    """
    if isinstance(encoding, IntegratedEncoding):
        columns = encoding.octaves.double()[:, None, None] * encoding.basis.double().t()
        half_turns = True
    else:
        columns = encoding.scales.double()[:, None, None] * torch.eye(
            3, dtype=torch.float64, device=encoding.scales.device
        )
        half_turns = False
    columns = columns.flatten(0, 1).t().cpu()
    points = torch.eye(3, dtype=torch.float64)
    waves = columns.shape[1]
    is_wave = torch.cat([torch.zeros(3), torch.ones(2 * waves)]).double()
    is_cosine = torch.cat([torch.zeros(3 + waves), torch.ones(waves)]).double()
    return torch.cat([torch.cat([points, columns, columns], dim=1), is_wave[None], is_cosine[None]]), half_turns
