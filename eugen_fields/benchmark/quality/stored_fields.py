"""Fields in files as small as number formats make them: float32, float16, and int8 with a scale for every row."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from eugen_fields.layers.folding import fold

Field = TypeVar("Field", bound=nn.Module)
NumberFormat = Literal["float32", "float16", "int8"]
FORMATS: tuple[NumberFormat, ...] = ("float32", "float16", "int8")
_KEPT = ("aabb",)
"""Six numbers that place everything else: always float32."""


def compact(field: Field) -> Field:
    """The trained field, or its folded form where that has fewer numbers: merged EUGen layers are smaller than the two
    matrices each was trained with. Random matrices that are drawn from a seed stay out of both."""
    folded = fold(field, materialise=False)
    assert isinstance(folded, type(field))
    return min(
        (copy.deepcopy(field), folded), key=lambda form: sum(value.nbytes for value in form.state_dict().values())
    )


def write_field(field: nn.Module, path: Path, number_format: NumberFormat) -> int:
    """Writes what a field has in its state dict, uncompressed, and returns the bytes of the file.

    The file is a sequence of numpy arrays, each the state dict's values of one sort behind each other in its order:
    what is always float32, integers (the seeds), and the numbers; with int8, matrices are in an array of their own and
    the scales of their rows come first among the numbers, which are float16 then.
    """
    kept, integers, numbers, quantised = [], [], [], []
    for name, value in field.state_dict().items():
        value = value.detach().cpu()
        if name in _KEPT:
            kept.append(value.float().flatten())
        elif not value.is_floating_point():
            integers.append(value.long().flatten())
        elif number_format == "int8" and value.dim() >= 2:
            rows, scales = quantise(value)
            quantised.append(rows.flatten())
            numbers.append(scales)
        else:
            numbers.append(value.flatten())
    dtype = np.float32 if number_format == "float32" else np.float16
    arrays = [_joined(kept, np.float32), _joined(integers, np.int64), _joined(numbers, dtype)]
    arrays += [_joined(quantised, np.int8)] if number_format == "int8" else []
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for array in arrays:
            np.save(file, array, allow_pickle=False)
    return path.stat().st_size


def read_field(field: Field, path: Path, number_format: NumberFormat) -> Field:
    """A copy of a field with the values that write_field has left in a file.

    Args:
        field: of the structure that was written; none of its values is used.
    """
    with path.open("rb") as file:
        arrays = [
            torch.from_numpy(np.load(file, allow_pickle=False)) for _ in range(4 if number_format == "int8" else 3)
        ]
    kept, integers, numbers, *rest = (_Reader(array) for array in arrays)
    state = {}
    for name, value in field.state_dict().items():
        if name in _KEPT:
            read = kept.take(value.numel())
        elif not value.is_floating_point():
            read = integers.take(value.numel())
        elif rest and value.dim() >= 2:
            scales = numbers.take(len(value)).to(value.dtype)
            read = rest[0].take(value.numel()).to(value.dtype).view(len(value), -1) * scales[:, None]
        else:
            read = numbers.take(value.numel())
        state[name] = read.to(value.dtype).view(value.shape)
    loaded = copy.deepcopy(field)
    loaded.load_state_dict(state)
    return loaded


def quantise(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as int8 in [-127, 127], shape of the matrix, and their scales in float16: row = scale * integers, to half a
    scale. The scale of a row is its largest magnitude over 127."""
    rows = matrix.float().flatten(1)
    scales = (rows.abs().amax(dim=1) / 127.0).half()
    divisors = scales.float().clamp_min(torch.finfo(torch.float16).smallest_normal / 1024)[:, None]
    return (rows / divisors).round().clamp(-127, 127).to(torch.int8), scales


class _Reader:
    """Takes an array apart from front to back."""

    def __init__(self, values: Tensor) -> None:
        self._values, self._place = values, 0

    def take(self, count: int) -> Tensor:
        self._place += count
        return self._values[self._place - count : self._place]


def _joined(parts: list[Tensor], dtype: type) -> np.ndarray:
    return np.concatenate([part.numpy() for part in parts]).astype(dtype) if parts else np.zeros(0, dtype)
