"""Writes the backward pass of a chain of stages: from the gradient of its output to those of its input and of what
stands before each activation."""

from typing import NamedTuple

from torch import Tensor

from eugen_fields.kernels.program import Piece, ProgramWriter, Term, Value, split_width
from eugen_fields.kernels.stages import Stage
from eugen_fields.kernels.writing import write_products, write_stage

SLOT = 64
"""Columns that the last piece of a row is followed by at the least, so that tiles of this width can be read anywhere."""


class Columns(NamedTuple):
    """Where a value lies in the rows of a matrix: its first column, and its pieces (width, padded) from there on."""

    start: int
    pieces: list[tuple[int, int]]

    def padded(self) -> int:
        return sum(size for _, size in self.pieces)

    def width(self) -> int:
        return sum(width for width, _ in self.pieces)


class Layout(NamedTuple):
    """Matrices that the kernels of a chain share, all (count, columns) of the operands' type.

    `values` holds the input of every stage but the first, `gradients` what each stage's affine map receives (stage by
    stage), `extras` a column of ones and the norm of every stage that has a norm column; `norms` says in which.
    """

    inputs: Columns
    values: list[Columns]
    gradients: list[Columns]
    norms: list[int | None]

    def value_columns(self) -> int:
        return self.values[-1].start + self.values[-1].padded() + SLOT if self.values else SLOT

    def gradient_columns(self) -> int:
        return self.gradients[-1].start + self.gradients[-1].padded() + SLOT
