"""Writes the passes that training needs: forward with its intermediates kept, and backward through the stages.

Shapes are those of values. With tangents (ProgramWriter.tangents) all matrices have four rows for each point.
"""

from typing import NamedTuple

from torch import Tensor

from eugen_fields.kernels.stages.stage import INPUT, Stage
from eugen_fields.kernels.write.elementwise import (
    activated,
    activation_gradient,
    multiplied,
    multiplied_gradient,
    norm_factor,
)
from eugen_fields.kernels.write.forward import AffineMap, described, side_by_side, write_products, write_stage
from eugen_fields.kernels.write.program import Piece, ProgramWriter, Term, Value, split_width

TILE = 64
"""Rows and columns of a tile of weight gradients. Matrices have as many columns to spare, so that a tile may start at
any value: what it reads beyond that value ends up in gradients that nobody looks at."""
ALIGNMENT = 16
"""Columns that the length of a row, and the start of every value and tile, are multiples of: rows are then read and
written 16 bytes at a time, where it would be 2 otherwise."""


class Columns(NamedTuple):
    """Where a value lies in the rows of a matrix: its first column, and its pieces (width, padded) from there on."""

    start: int
    pieces: list[tuple[int, int]]

    @property
    def end(self) -> int:
        return self.start + sum(size for _, size in self.pieces)


class Layout(NamedTuple):
    """Two matrices of the operands' type: `values` (count, value_columns) with the chain's input, the value of every
    stage but the last, a one and the norm of every stage that has a norm column; and `gradients`
    (count, gradient_columns) with what reaches the affine map of every stage. The tangents of the one are 0."""

    inputs: Columns
    values: list[Columns]
    one: int
    norms: list[int]
    gradients: list[Columns]
    value_columns: int
    gradient_columns: int

    def value(self, index: int) -> Columns:
        """Where the value of a stage lies, or the chain's input for INPUT."""
        return self.inputs if index == INPUT else self.values[index]


def value_pieces(stage: Stage, largest: int) -> list[tuple[int, int]]:
    """Widths and padded widths of the pieces of a stage's value."""
    if stage.products is None:
        return split_width(len(stage.weight), largest)
    return split_width(stage.products[0], largest) * stage.products[1]


def affine_pieces(stage: Stage, largest: int) -> list[tuple[int, int]]:
    """Widths and padded widths of the pieces of a stage's affine map."""
    if stage.products is None:
        return split_width(len(stage.weight), largest)
    return split_width(stage.products[0], largest) * (len(stage.weight) // stage.products[0])


def make_layout(stages: list[Stage], in_dim: int, largest: int) -> Layout:
    inputs = Columns(0, split_width(in_dim, largest))
    values, end = [], inputs.end
    for stage in stages[:-1]:
        values.append(Columns(end, value_pieces(stage, largest)))
        end = values[-1].end
    gradients, gradient_end = [], 0
    for stage in stages:
        gradients.append(Columns(gradient_end, affine_pieces(stage, largest)))
        gradient_end = gradients[-1].end
    norms = [end + 1 + sum(other.norm_column is not None for other in stages[:index]) for index in range(len(stages))]
    value_columns = -(-(max(norms) + 1 + TILE) // ALIGNMENT) * ALIGNMENT
    return Layout(inputs, values, end, norms, gradients, value_columns, gradient_end + TILE)


def write_forward(writer: ProgramWriter, stages: list[Stage], in_dim: int) -> tuple[str, ...]:
    """Adds the chain; returns the pointers: inputs (count, padded in_dim), outputs (count, out_dim) float32."""
    columns = Columns(0, split_width(in_dim, writer.piece))
    f = x = _load_value(writer, "inputs", columns.end, columns)
    values: list[Value] = []
    for index, stage in enumerate(stages):
        if _reads_input_again(stage):  # again: kept, it would take registers from all stages in between
            x = _load_value(writer, "inputs", columns.end, columns)
        writer.comment(f"stage {index}: {described(stage)}")
        if index < len(stages) - 1:
            f = write_stage(writer, stage, f, side_by_side(stage, x, values))
            values.append(f)
    last, start = stages[-1], 0
    affine = AffineMap(writer, last, f, side_by_side(last, x, values))
    out_dim = len(last.weight)
    for width, size in split_width(out_dim, writer.piece):
        y = activated(writer, last.activation, affine.rows(start, width, size))
        writer.line(f"store_columns(outputs, {y}, rows, valid, {out_dim}, {start}, {width}, {size})")
        start += width
    return "inputs", "outputs"


def write_kept_forward(writer: ProgramWriter, stages: list[Stage], layout: Layout) -> tuple[str, ...]:
    """Adds the chain without its last stage; returns the pointers: inputs as above, values as in the layout."""
    f = x = _load_value(writer, "inputs", layout.inputs.end, layout.inputs)
    store_value(writer, "values", layout.value_columns, layout.inputs, x)
    values: list[Value] = []
    for index, (stage, columns) in enumerate(zip(stages, layout.values)):
        if _reads_input_again(stage):
            x = _load_value(writer, "inputs", layout.inputs.end, layout.inputs)
        writer.comment(f"stage {index}: {described(stage)}")
        f = write_stage(writer, stage, f, side_by_side(stage, x, values))
        values.append(f)
        store_value(writer, "values", layout.value_columns, columns, f)
    return "inputs", "values"


def write_backward(
    writer: ProgramWriter, stages: list[Stage], layout: Layout, in_dim: int, input_gradient: bool
) -> tuple[str, ...]:
    """Adds the backward pass; returns the pointers: values and gradients as in the layout, outputs and their gradient
    (count, out_dim) float32, and, with `input_gradient`, the gradient of the input (count, in_dim) float32.

    Values are read; the one and the norms among them, gradients and the input's gradient are written.
    """
    one = "tl.where(is_value, 1.0, 0.0)" if writer.tangents else "1.0 + 0.0 * rows"
    writer.line(f"store_scalars(values, {one}, rows, valid, {layout.value_columns}, {layout.one})")

    def load(index: int) -> Value:
        return _load_value(writer, "values", layout.value_columns, layout.value(index))

    out_dim, start = len(stages[-1].weight), 0
    received, produced = [], []
    for width, size in split_width(out_dim, writer.piece):
        place = f"rows, valid, {out_dim}, {start}, {width}, {size}"
        received.append(writer.let("g", f"load_columns(output_gradients, {place})"))
        produced.append(writer.let("y", f"load_columns(outputs, {place})"))
        start += width
    reached: dict[int, list[str]] = {}  # gradients of values from the stages so far, piece by piece
    for index in reversed(range(len(stages))):
        stage = stages[index]
        writer.comment(f"gradients of stage {index}: {described(stage)}")
        # loaded again for each stage that reads them: kept, they would take registers from all the others
        beside = {other: load(other) for other in stage.beside} if stage.skip is not None else {}
        f = load(index - 1)
        u = [piece for value in beside.values() for piece in value]
        z, norm = _write_affine_gradient(writer, stage, f, u, received, produced)
        store_value(writer, "gradients", layout.gradient_columns, layout.gradients[index], z)
        factor = None
        if norm is not None:
            place = f"{layout.value_columns}, {layout.norms[index]}"
            writer.line(f"store_scalars(values, {norm}, rows, valid, {place})")
            factor = _write_norm_factor(writer, stage, z, norm)
        start = 0
        for other, value in beside.items():
            width = sum(piece.width for piece in value)
            assert stage.skip is not None
            if other != INPUT or input_gradient:
                weight = stage.skip[:, start : start + width]
                reached[other] = _write_transposed(writer, z, weight, value, factor, reached.get(other))
            start += width
        if index > 0 or input_gradient:
            reached[index - 1] = _write_transposed(writer, z, stage.weight, f, factor, reached.get(index - 1))
        if index > 0:
            received = reached.pop(index - 1)
            produced = [f"{piece.name}.to(tl.float32)" for piece in f]
    pointers = ("values", "gradients", "outputs", "output_gradients")
    if not input_gradient:
        return pointers
    start = 0
    for g, (width, size) in zip(reached[INPUT], layout.inputs.pieces):
        writer.line(f"store_columns(input_gradients, {g}, rows, valid, {in_dim}, {start}, {width}, {size})")
        start += width
    return *pointers, "input_gradients"


def _reads_input_again(stage: Stage) -> bool:
    return stage.skip is not None and INPUT in stage.beside


def _load_value(writer: ProgramWriter, matrix: str, stride: int, columns: Columns) -> Value:
    value, start = [], columns.start
    for width, size in columns.pieces:
        name = writer.let("h", f"load_columns({matrix}, rows, valid, {stride}, {start}, {size}, {size})")
        value.append(Piece(name, width, size))
        start += size
    return writer.stage(value)


def store_value(writer: ProgramWriter, matrix: str, stride: int, columns: Columns, value: Value) -> None:
    """Adds the writing of a value, padding and all, into the columns of a matrix (count, stride)."""
    start = columns.start
    for piece in value:
        size = piece.padded
        writer.line(f"store_columns({matrix}, {piece.name}, rows, valid, {stride}, {start}, {size}, {size})")
        start += size


def _write_affine_gradient(
    writer: ProgramWriter, stage: Stage, f: Value, u: Value, received: list[str], produced: list[str]
) -> tuple[Value, str | None]:
    """Adds the gradient that reaches a stage's affine map; returns it, and the variable that holds the norm.

    `received` names the gradient of the stage's value piece by piece, `produced` that value; both float32.
    """
    affine = AffineMap(writer, stage, f, u)
    if stage.products is None:
        pieces = split_width(len(stage.weight), writer.piece)
        return [
            writer.rounded(activation_gradient(writer, stage.activation, g, h), width, size)
            for g, h, (width, size) in zip(received, produced, pieces)
        ], affine.norm
    # the value was rounded, but its factors are not kept: they are computed again
    products = write_products(affine, stage.products, writer.piece)
    shared = stage.products[2]
    singles, lefts, rights = [], [], []
    for index, p in enumerate(products):
        first, second = p.single, multiplied(writer, p.left, p.right)
        single, double = (
            writer.let("g", activation_gradient(writer, stage.activation, g, activated(writer, stage.activation, z)))
            for g, z in ((received[index], first), (received[len(products) + index], second))
        )
        left = multiplied_gradient(writer, double, p.right)
        singles.append(writer.rounded(f"{single} + {left}" if shared else single, p.width, p.size))
        if not shared:
            lefts.append(writer.rounded(left, p.width, p.size))
        rights.append(writer.rounded(multiplied_gradient(writer, double, p.left), p.width, p.size))
    return singles + lefts + rights, affine.norm


def _write_norm_factor(writer: ProgramWriter, stage: Stage, z: Value, norm: str) -> str:
    """Adds (gradient of the norm) / norm, what every entry under the norm is multiplied by (elementwise.norm_factor);
    returns its name, (B,)."""
    assert stage.norm_column is not None
    sums, start = [], 0
    for piece in z:
        column = writer.row(stage.norm_column[start : start + piece.width], piece.padded)
        sums.append(f"row_sum({piece.name}.to(tl.float32) * {column})")
        start += piece.width
    return writer.let("factor", norm_factor(writer, " + ".join(sums), norm))


def _write_transposed(
    writer: ProgramWriter, z: Value, weight: Tensor, value: Value, factor: str | None, before: list[str] | None
) -> list[str]:
    """Adds weight^T z plus factor times the value itself, the gradient of a value that this weight reads; returns the
    names of its pieces, float32, with the ones given `before` added."""
    names: list[str] = []
    start = 0
    for piece, earlier in zip(value, before or [None] * len(value)):
        g = writer.affine([Term(z, weight[:, start : start + piece.width].t())], None, piece.padded)
        if factor is not None:
            through = multiplied_gradient(writer, f"{factor}[:, None]", f"{piece.name}.to(tl.float32)")
            writer.line(f"{g} = {g} + {through}")
        if earlier is not None:
            writer.line(f"{g} = {g} + {earlier}")
        names.append(g)
        start += piece.width
    return names
