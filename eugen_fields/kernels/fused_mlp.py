"""An MLP that is trained by fused kernels: forward, and backward with recomputation instead of stored intermediates."""

from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from eugen_fields.kernels.backward import (
    TILE,
    Columns,
    Layout,
    make_layout,
    write_backward,
    write_forward,
    write_kept_forward,
)
from eugen_fields.kernels.launch import PIECE, build, fits, run
from eugen_fields.kernels.live_stages import TENSORS, live_stages, positions, tensors_of, training_reason
from eugen_fields.kernels.program import OPERANDS, Program, ProgramWriter
from eugen_fields.kernels.stages import Stage
from eugen_fields.layers import MLP

CHUNK = 1 << 16
"""Points whose intermediates are in memory at a time during the backward pass."""
ROWS_PER_SPLIT = 1 << 11
"""Rows that one program sums weight gradients over; the sums of all are added up in a fixed order."""


class FusedMLP:
    """Calls an MLP through fused kernels, with gradients of its parameters and its input.

    Operands of matrix products, and what the backward pass keeps, are of type `dtype`, sums are float32. Between the
    passes nothing is stored but input and output. Gradients are summed in a fixed order: equal calls give equal ones.
    The parameters are read at every call. Gradients of gradients are not offered.

    Args:
        mlp: of dense, EUGen, PRP and low-rank layers; its device decides where kernels run, as in FusedField.
        dtype: torch.bfloat16, float16 (whose gradients need a loss scale) or float32.

    Raises:
        ValueError: the MLP cannot be fused (`training_reason`), or another dtype.
    """

    def __init__(self, mlp: MLP, dtype: torch.dtype = torch.bfloat16) -> None:
        if dtype not in OPERANDS:
            raise ValueError(f"dtype is {dtype}; it must be one of {', '.join(str(offered) for offered in OPERANDS)}")
        reason = training_reason(mlp)
        if reason is not None:
            raise ValueError(f"the MLP cannot be fused: {reason}")
        self.mlp = mlp
        self._plan = _Plan(live_stages(mlp), mlp.in_dim, dtype, next(mlp.parameters()).device)

    def __call__(self, x: Tensor) -> Tensor:
        """y (..., out_dim), float32, from x (..., in_dim)."""
        tensors = tensors_of(live_stages(self.mlp))
        y = _Apply.apply(self._plan, x.reshape(-1, self.mlp.in_dim), *tensors)
        assert isinstance(y, Tensor)
        return y.view(*x.shape[:-1], self.mlp.out_dim)


class _Packing(NamedTuple):
    """A program whose numbers are filled in at every step: where each comes from among all of a chain's."""

    program: Program
    writer: ProgramWriter
    weights: Tensor
    vectors: Tensor

    def at(self, numbers: Tensor) -> Program:
        """The program with the chain's numbers, flat, behind a 0 that stands for padding."""
        weights = self.writer.bits(numbers[self.weights])
        return self.program._replace(weights=weights, vectors=numbers[self.vectors].float())


class _Plan:
    """The programs of one chain of stages, and where gradients lie in what they write."""

    def __init__(self, stages: list[Stage], in_dim: int, dtype: torch.dtype, device: torch.device) -> None:
        self.stages = positions(stages)
        self.in_dim, self.out_dim = in_dim, len(stages[-1].weight)
        self.dtype, self.device = dtype, device
        self.layout = make_layout(self.stages, in_dim, PIECE)
        self.operands = ProgramWriter(dtype, PIECE, device.type == "cpu").storage
        self.forward = self._packing("forward", partial(write_forward, in_dim=in_dim))
        self.kept = self._packing("kept_forward", partial(write_kept_forward, layout=self.layout))
        self._backward: dict[bool, _Packing] = {}
        tiles, places = gradient_tiles(self.stages, self.layout)
        self.tiles, self.places = tiles.to(device), places.to(device)

    def backward(self, input_gradient: bool) -> _Packing:
        if input_gradient not in self._backward:
            write = partial(write_backward, layout=self.layout, in_dim=self.in_dim, input_gradient=input_gradient)
            self._backward[input_gradient] = self._packing("backward", write)
        return self._backward[input_gradient]

    def _packing(self, name: str, write: Any) -> _Packing:
        writer = ProgramWriter(self.dtype, PIECE, self.device.type == "cpu")
        pointers = write(writer, self.stages)
        program = writer.program(name, pointers, resident=fits(writer, self.device))
        weights, vectors = (
            packed.long().to(self.device) for packed in (writer.packed_weights(), writer.packed_vectors())
        )
        return _Packing(program, writer, weights, vectors)

    def padded_inputs(self, x: Tensor) -> Tensor:
        """x (count, in_dim) as kernels read it: (count, padded in_dim), of the operands' type."""
        return F.pad(x.to(self.dtype).to(self.operands), (0, self.layout.inputs.end - self.in_dim))

    def weight_gradients(self, gradients: Tensor, values: Tensor) -> Tensor:
        """Tiles of gradients^T values, flat float32, in the order that `places` reads them in."""
        splits = -(-len(values) // ROWS_PER_SPLIT)
        partials = torch.empty(splits, len(self.tiles), TILE, TILE, device=self.device)
        source = WEIGHT_GRADIENT.format(
            gradient_columns=self.layout.gradient_columns, value_columns=self.layout.value_columns, tile=TILE
        )
        kernel = build(source, self.device.type == "cpu")
        kernel[(len(self.tiles), splits)](gradients, values, self.tiles, partials, len(values), ROWS_PER_SPLIT)
        return partials.sum(dim=0).flatten()


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

    def add(rows: Columns, columns: Columns) -> None:
        row, column = _offsets(rows), _offsets(columns)
        across = -(-(columns.end - columns.start) // TILE)
        first = len(tiles)
        for i in range(-(-(rows.end - rows.start) // TILE)):
            tiles.extend((rows.start + i * TILE, columns.start + j * TILE) for j in range(across))
        tile = first + (row // TILE)[:, None] * across + (column // TILE)[None, :]
        places.append(((tile * TILE + (row % TILE)[:, None]) * TILE + (column % TILE)[None, :]).flatten())

    for index, stage in enumerate(stages):
        sources = {
            "weight": layout.values[index - 1] if index else layout.inputs,
            "bias": Columns(layout.one, [(1, 1)]),
            "skip": layout.inputs,
            "norm_column": Columns(layout.norms[index], [(1, 1)]),
        }
        for name in TENSORS:
            if getattr(stage, name) is not None:
                add(layout.gradients[index], sources[name])
    return torch.tensor(tiles, dtype=torch.int32), torch.cat(places)


def _offsets(columns: Columns) -> Tensor:
    """Where each of a value's own columns lies behind the first one, padding left out."""
    offsets, start = [], 0
    for width, size in columns.pieces:
        offsets.append(torch.arange(start, start + width))
        start += size
    return torch.cat(offsets)


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: _Plan, x: Tensor, *tensors: Tensor) -> Tensor:  # type: ignore[override]
        y = torch.empty(len(x), plan.out_dim, device=x.device)
        run(plan.forward.at(_numbers(tensors)), plan.padded_inputs(x), y)
        ctx.plan = plan
        ctx.save_for_backward(x, y, *tensors)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        plan: _Plan = ctx.plan
        x, y, *tensors = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1]
        numbers = _numbers(tensors)
        kept, backward = plan.kept.at(numbers), plan.backward(wanted).at(numbers)
        to_input = torch.empty(len(x), plan.in_dim, device=x.device) if wanted else None
        total = torch.zeros(len(plan.tiles) * TILE * TILE, device=x.device)
        for start in range(0, len(x), CHUNK):
            rows = slice(start, start + CHUNK)
            count = len(x[rows])
            values = torch.empty(count, plan.layout.value_columns, dtype=plan.operands, device=x.device)
            gradients = torch.empty(count, plan.layout.gradient_columns, dtype=plan.operands, device=x.device)
            run(kept, plan.padded_inputs(x[rows]), values)
            matrices = [values, gradients, y[rows], grad[rows].float().contiguous()]
            run(backward, *matrices, *([] if to_input is None else [to_input[rows]]))
            total += plan.weight_gradients(gradients, values)
        found = total[plan.places].split([tensor.numel() for tensor in tensors])
        to_tensors = [piece.view(tensor.shape).to(tensor.dtype) for piece, tensor in zip(found, tensors)]
        return None, None if to_input is None else to_input.to(x.dtype), *to_tensors


def _numbers(tensors: Any) -> Tensor:
    """All numbers of a chain, flat float32, behind a 0 that stands for padding."""
    zero = torch.zeros(1, device=tensors[0].device)
    return torch.cat([zero, *(tensor.detach().float().flatten() for tensor in tensors)])
