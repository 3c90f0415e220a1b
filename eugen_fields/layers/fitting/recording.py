"""What layers inside a network see and return, recorded batch by batch with hooks."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Batch = Tensor | tuple[Tensor, Tensor]
"""Inputs of a network (N, ...), or a pair of them and of weights (N,)."""


class Stream:
    """Batches that can be iterated over again and again, as pairs (inputs, weights or None).

    Args:
        inputs: a tensor (N, ...), which is cut into batches, or an iterable of tensors or of pairs.
        batch_size: rows of a batch cut from a tensor.

    Raises:
        ValueError: no inputs, an iterator that could be used only once, or (while it is iterated over) a batch of
            another form.
    """

    def __init__(self, inputs: Tensor | Iterable[Batch], batch_size: int = 65_536) -> None:
        if isinstance(inputs, Iterator):
            raise ValueError(
                "inputs is an iterator, which can be used only once, and a fit needs several passes; give a tensor, a "
                "list, a DataLoader, or an object whose __iter__ starts anew"
            )
        if not isinstance(inputs, Iterable):
            raise ValueError(f"inputs is a {type(inputs).__name__}; it must be a tensor or an iterable of batches")
        if isinstance(inputs, Tensor) and inputs.numel() == 0:
            raise ValueError(f"inputs has shape {tuple(inputs.shape)} and so holds no samples")
        self._inputs: Iterable[Batch] = inputs.split(batch_size) if isinstance(inputs, Tensor) else inputs

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        empty = True
        for batch in self._inputs:
            empty = False
            yield _checked(batch)
        if empty:
            raise ValueError("inputs yields no batches; it must yield them anew whenever it is iterated over")

    def minibatches(self, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Endless random parts of at most `size` entries of the batches."""
        while True:
            for batch, weights in self:
                order = torch.randperm(len(batch), generator=generator).to(batch.device)
                for rows in order.split(size):
                    yield batch[rows], None if weights is None else weights[rows]


def _checked(batch: Any) -> tuple[Tensor, Tensor | None]:
    inputs, weights = batch if isinstance(batch, (tuple, list)) and len(batch) == 2 else (batch, None)
    if not isinstance(inputs, Tensor):
        raise ValueError(f"a batch of inputs is a {type(inputs).__name__}; it must be a tensor, or a pair with weights")
    if weights is None:
        return inputs, None
    if not isinstance(weights, Tensor) or weights.shape != inputs.shape[:1]:
        found = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise ValueError(f"weights of a batch of {len(inputs)} inputs are {found}; shape ({len(inputs)},) is needed")
    if not bool(((weights >= 0) & weights.isfinite()).all()):
        raise ValueError("weights of a batch hold NaN, infinity or a negative number")
    return inputs, weights


def as_rows(values: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Values (N, ..., width) as rows (rows, width), and the weights (rows,) that weights (N,) amount to.

    Raises:
        ValueError: the first axis of the values is not that of the weights, so that they belong to nothing.
    """
    rows = values.flatten(0, -2)
    if weights is None:
        return rows, None
    if len(values) != len(weights):
        raise ValueError(
            f"{len(weights)} weights are given for values of shape {tuple(values.shape)}: the network moves the first "
            "axis, so weights have no meaning for it; leave them out"
        )
    return rows, weights.repeat_interleave(len(rows) // max(len(weights), 1))


class _Reached(Exception):
    """Everything asked for is recorded: the rest of the forward pass is not needed."""


def record(
    module: nn.Module, batch: Tensor, *, inputs: Sequence[str] = (), outputs: Sequence[str] = ()
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """First input and output of sub-modules, by qualified name, when `module` gets a batch in evaluation mode.

    The pass ends as soon as everything is recorded. What is recorded are copies: activations behind a layer may work in
    place.

    Raises:
        ValueError: the pass does not reach a sub-module.
    """
    seen_inputs: dict[str, Tensor] = {}
    seen_outputs: dict[str, Tensor] = {}

    def keep(seen: dict[str, Tensor], name: str, value: Tensor) -> None:
        if name not in seen:
            seen[name] = value.detach().clone()
        if len(seen_inputs) == len(inputs) and len(seen_outputs) == len(outputs):
            raise _Reached

    def keep_input(name: str):
        return lambda _, arguments, named: keep(seen_inputs, name, [*arguments, *named.values()][0])

    def keep_output(name: str):
        return lambda _, __, output: keep(seen_outputs, name, output)

    handles = [
        module.get_submodule(name).register_forward_pre_hook(keep_input(name), with_kwargs=True) for name in inputs
    ]
    handles += [module.get_submodule(name).register_forward_hook(keep_output(name)) for name in outputs]
    try:
        with evaluation_mode(module):
            module(batch)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    _check_called(module, [name for name in inputs if name not in seen_inputs])
    _check_called(module, [name for name in outputs if name not in seen_outputs])
    return seen_inputs, seen_outputs


def run_order(module: nn.Module, batch: Tensor, names: Sequence[str]) -> list[str]:
    """Qualified names of sub-modules in the order in which `module`, called with a batch in evaluation mode, runs them.

    Raises:
        ValueError: one of them does not run, or runs more than once.
    """
    order: list[str] = []

    def note(name: str):
        return lambda _, __: order.append(name)

    handles = [module.get_submodule(name).register_forward_pre_hook(note(name)) for name in names]
    try:
        with evaluation_mode(module), torch.no_grad():
            module(batch)
    finally:
        for handle in handles:
            handle.remove()
    _check_called(module, [name for name in names if name not in order])
    for name in names:
        if order.count(name) > 1:
            raise ValueError(f"{name} is called {order.count(name)} times in a pass; only one call can be fitted")
    return order


def _check_called(module: nn.Module, missing: list[str]) -> None:
    if missing:
        raise ValueError(f"{missing[0]} is not called when {type(module).__name__} is given these inputs")


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Every sub-module in evaluation mode for a while."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
