"""What layers inside a network see and return, recorded batch by batch with hooks."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Batch = Tensor | tuple[Tensor, Tensor]
"""Inputs of a network, or a pair of them and of weights (N,), one for each row."""


class Stream:
    """Batches that can be iterated over again and again, as pairs (inputs, weights or None).

    Args:
        inputs: a tensor (N, ...), which is cut into batches, or an iterable of tensors or of pairs.
        batch_size: rows of a batch cut from a tensor.

    Raises:
        ValueError: no inputs, an iterator that could be used only once, or a batch of another form.
    """

    def __init__(self, inputs: Tensor | Iterable[Batch], batch_size: int = 65_536) -> None:
        if isinstance(inputs, Iterator):
            raise ValueError(
                "inputs is an iterator, which can be used only once, and a fit needs several passes; give a tensor, a "
                "list, a DataLoader, or an object whose __iter__ starts anew"
            )
        if isinstance(inputs, Tensor) and len(inputs) == 0:
            raise ValueError("inputs holds no samples")
        self._inputs: Iterable[Batch] = inputs.split(batch_size) if isinstance(inputs, Tensor) else inputs

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        empty = True
        for batch in self._inputs:
            empty = False
            pair = batch if isinstance(batch, (tuple, list)) else (batch, None)
            if len(pair) != 2 or not isinstance(pair[0], Tensor) or not (pair[1] is None or pair[1].dim() == 1):
                raise ValueError("a batch of inputs must be a tensor, or a pair (tensor, weights of shape (N,))")
            yield pair[0], pair[1]
        if empty:
            raise ValueError("inputs yields no batches")

    def minibatches(self, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Endless random parts of at most `size` rows of the batches."""
        while True:
            for batch, weights in self:
                order = torch.randperm(len(batch), generator=generator).to(batch.device)
                for rows in order.split(size):
                    yield batch[rows], None if weights is None else weights[rows]


class _Reached(Exception):
    """Everything asked for is recorded: the rest of the forward pass is not needed."""


def record(
    module: nn.Module, batch: Tensor, *, inputs: Sequence[str] = (), outputs: Sequence[str] = ()
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """First input and output of sub-modules, by qualified name, when `module` is called with a batch in evaluation mode.

    The pass ends as soon as everything is recorded.

    Raises:
        ValueError: the pass does not reach a sub-module.
    """
    seen_inputs: dict[str, Tensor] = {}
    seen_outputs: dict[str, Tensor] = {}

    def stop_when_done() -> None:
        if len(seen_inputs) == len(inputs) and len(seen_outputs) == len(outputs):
            raise _Reached

    def keep_input(name: str):
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            seen_inputs[name] = arguments[0]
            stop_when_done()

        return hook

    def keep_output(name: str):
        def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            seen_outputs[name] = output
            stop_when_done()

        return hook

    handles = [module.get_submodule(name).register_forward_pre_hook(keep_input(name)) for name in inputs]
    handles += [module.get_submodule(name).register_forward_hook(keep_output(name)) for name in outputs]
    try:
        with evaluation_mode(module):
            module(batch)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name in (*inputs, *outputs) if name not in seen_inputs and name not in seen_outputs]
    if missing:
        raise ValueError(f"{missing[0]} is not called when {type(module).__name__} is given these inputs")
    return seen_inputs, seen_outputs


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
