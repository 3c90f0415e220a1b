"""The training of a chain of stages by fused kernels: forward, and backward with recomputation instead of stored
intermediates, for values or for values with their tangents."""

from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from eugen_fields.kernels.run.launch import PIECE, build, fits, run
from eugen_fields.kernels.stages.live import TENSORS, positions
from eugen_fields.kernels.stages.stage import Stage
from eugen_fields.kernels.write.backward import (
    TILE,
    Columns,
    Layout,
    make_layout,
    write_backward,
    write_forward,
    write_kept_forward,
)
from eugen_fields.kernels.write.program import Program, ProgramWriter

CHUNK = 1 << 16
"""Rows whose intermediates are in memory at a time during the backward pass."""
ROWS_PER_SPLIT = 1 << 11
"""Rows that one program sums weight gradients over; the sums of all are added up in a fixed order."""


class Packing(NamedTuple):
    """A program whose numbers are filled in at every step: where each comes from among all of a chain's."""

    program: Program
    writer: ProgramWriter
    weights: Tensor
    vectors: Tensor

    def at(self, numbers: Tensor) -> Program:
        """The program with the chain's numbers, flat, behind a 0 that stands for padding."""
        weights = self.writer.bits(numbers[self.weights])
        return self.program._replace(weights=weights, vectors=numbers[self.vectors].float())


class Plan:
    """The programs of one chain of stages, and where gradients lie in what they write.

    Args:
        stages: as live_stages gives them.
        in_dim: columns of the first stage's input.
        dtype, device: of the operands.
        encode: a program from points to the chain's inputs with their tangents, (count, 4, padded in_dim); the whole
            chain then has tangents. None: what the plan is called with is the input itself.
    """

    def __init__(
        self, stages: list[Stage], in_dim: int, dtype: torch.dtype, device: torch.device, encode: Program | None = None
    ) -> None:
        self.stages = positions(stages)
        self.in_dim, self.out_dim = in_dim, len(stages[-1].weight)
        self.dtype, self.device = dtype, device
        self.encode = encode
        self.rows_per_point = self._writer().rows_per_point
        self.layout = make_layout(self.stages, in_dim, PIECE)
        self.operands = self._writer().storage
        self.forward = self._packing("forward", partial(write_forward, in_dim=in_dim))
        self.kept = self._packing("kept_forward", partial(write_kept_forward, layout=self.layout))
        self._backward: dict[bool, Packing] = {}
        tiles, places = gradient_tiles(self.stages, self.layout)
        self.tiles, self.places = tiles.to(device), places.to(device)

    def backward(self, input_gradient: bool) -> Packing:
        if input_gradient not in self._backward:
            write = partial(write_backward, layout=self.layout, in_dim=self.in_dim, input_gradient=input_gradient)
            self._backward[input_gradient] = self._packing("backward", write)
        return self._backward[input_gradient]

    def sources(self, input_gradient: bool) -> dict[str, str]:
        """The sources of all kernels of a training step, by what they compute."""
        encode = {} if self.encode is None else {"inputs": self.encode.source}
        return encode | {
            "outputs": self.forward.program.source,
            "intermediates, for the backward pass": self.kept.program.source,
            "gradients of the intermediates": self.backward(input_gradient).program.source,
            "sums of weight gradients": self._weight_gradient_source(),
        }

    def _writer(self) -> ProgramWriter:
        return ProgramWriter(self.dtype, PIECE, self.device.type == "cpu", tangents=self.encode is not None)

    def _packing(self, name: str, write: Any) -> Packing:
        writer = self._writer()
        pointers = write(writer, self.stages)
        program = writer.program(name, pointers, resident=fits(writer, self.device))
        weights, vectors = (
            packed.long().to(self.device) for packed in (writer.packed_weights(), writer.packed_vectors())
        )
        return Packing(program, writer, weights, vectors)

    def rows(self, count: int, columns: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """An empty matrix of so many points: (count, rows_per_point, columns)."""
        return torch.empty(count, self.rows_per_point, columns, dtype=dtype, device=self.device)

    def inputs(self, x: Tensor) -> Tensor:
        """What the chain's kernels read, of the operands' type, (count, rows_per_point, padded in_dim), from what the
        plan is called with: inputs (count, in_dim), or points (count, 3) to encode."""
        if self.encode is not None:
            inputs = self.rows(len(x), self.layout.inputs.end, self.operands)
            run(self.encode, x, inputs)
            return inputs
        return F.pad(x.to(self.dtype).to(self.operands), (0, self.layout.inputs.end - self.in_dim))

    def weight_gradients(self, gradients: Tensor, values: Tensor) -> Tensor:
        """Tiles of gradients^T values, flat float32, in the order that `places` reads them in."""
        count = len(values) * self.rows_per_point
        splits = -(-count // ROWS_PER_SPLIT)
        partials = torch.empty(splits, len(self.tiles), TILE, TILE, device=self.device)
        kernel = build(self._weight_gradient_source(), self.device.type == "cpu")
        kernel[(len(self.tiles), splits)](gradients, values, self.tiles, partials, count, ROWS_PER_SPLIT)
        return partials.sum(dim=0).flatten()

    def _weight_gradient_source(self) -> str:
        return WEIGHT_GRADIENT.format(
            gradient_columns=self.layout.gradient_columns, value_columns=self.layout.value_columns, tile=TILE
        )


WEIGHT_GRADIENT = """def sum_weight_gradients(gradients, values, tiles, partials, count, rows_per_split):
    weight_gradient(
        gradients, values, tiles, partials, count, rows_per_split, {gradient_columns}, {value_columns}, {tile}, 64
    )
"""


def gradient_tiles(stages: list[Stage], layout: Layout) -> tuple[Tensor, Tensor]:
    """Which tiles of gradients^T values are needed: their first columns in both, int32, shape (tiles, 2); and for each
    number of `tensors_of`, in that order, its place among all entries of those tiles, shape (numbers,)."""
    tiles: list[tuple[int, int]] = []
    places: list[Tensor] = []

    def add(rows: Columns, columns: Columns) -> Tensor:
        """Adds the tiles of one matrix; returns the places of its entries."""
        row, column = _offsets(rows), _offsets(columns)
        if columns.start > layout.one:
            # a norm: its tile begins at the one before it, a multiple of 16 as all others do
            column = column + (columns.start - layout.one)
            columns = columns._replace(start=layout.one)
        across = -(-(columns.end - columns.start) // TILE)
        first = len(tiles)
        for i in range(-(-(rows.end - rows.start) // TILE)):
            tiles.extend((rows.start + i * TILE, columns.start + j * TILE) for j in range(across))
        tile = first + (row // TILE)[:, None] * across + (column // TILE)[None, :]
        return (tile * TILE + (row % TILE)[:, None]) * TILE + (column % TILE)[None, :]

    for index, stage in enumerate(stages):
        sources = {
            "weight": [layout.value(index - 1)],
            "bias": [Columns(layout.one, [(1, 1)])],
            "skip": [layout.value(other) for other in stage.beside],
            "norm_column": [Columns(layout.norms[index], [(1, 1)])],
        }
        for name in TENSORS:
            if getattr(stage, name) is not None:
                side_by_side = [add(layout.gradients[index], columns) for columns in sources[name]]
                places.append(torch.cat(side_by_side, dim=1).flatten())
    return torch.tensor(tiles, dtype=torch.int32), torch.cat(places)


def _offsets(columns: Columns) -> Tensor:
    """Where each of a value's own columns lies behind the first one, padding left out."""
    offsets, start = [], 0
    for width, size in columns.pieces:
        offsets.append(torch.arange(start, start + width))
        start += size
    return torch.cat(offsets)


class Apply(torch.autograd.Function):
    """Runs a plan on x; returns (count, rows_per_point * out_dim), float32. Gradients flow to the stage tensors and,
    without an encoding, to x."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, x: Tensor, *tensors: Tensor) -> Tensor:  # type: ignore[override]
        y = plan.rows(len(x), plan.out_dim).flatten(1)
        run(plan.forward.at(_numbers(tensors)), plan.inputs(x), y)
        ctx.plan = plan
        ctx.save_for_backward(x, y, *tensors)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        plan: Plan = ctx.plan
        x, y, *tensors = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1]
        numbers = _numbers(tensors)
        kept, backward = plan.kept.at(numbers), plan.backward(wanted).at(numbers)
        to_input = torch.empty(len(x), plan.in_dim, device=x.device) if wanted else None
        total = torch.zeros(len(plan.tiles) * TILE * TILE, device=x.device)
        step = CHUNK // plan.rows_per_point
        for start in range(0, len(x), step):
            chunk = slice(start, start + step)
            count = len(x[chunk])
            values = plan.rows(count, plan.layout.value_columns, plan.operands)
            gradients = plan.rows(count, plan.layout.gradient_columns, plan.operands)
            run(kept, plan.inputs(x[chunk]), values)
            matrices = [values, gradients, y[chunk], grad[chunk].float().contiguous()]
            run(backward, *matrices, *([] if to_input is None else [to_input[chunk]]))
            total += plan.weight_gradients(gradients, values)
        found = total[plan.places].split([tensor.numel() for tensor in tensors])
        to_tensors = [piece.view(tensor.shape).to(tensor.dtype) for piece, tensor in zip(found, tensors)]
        return None, None if to_input is None else to_input.to(x.dtype), *to_tensors


def _numbers(tensors: Any) -> Tensor:
    """All numbers of a chain, flat float32, behind a 0 that stands for padding."""
    zero = torch.zeros(1, device=tensors[0].device)
    return torch.cat([zero, *(tensor.detach().float().flatten() for tensor in tensors)])
