"""Training steps of fused kernels as CUDA graphs: where a network is called with one shape again and again, its forward
and its backward pass are one launch each in place of dozens."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

DEVICES = ("cuda",)
STEADY = 3
"""Calls with one shape before it is captured."""
MOST = 4
"""Shapes that are captured: each keeps its intermediates in memory."""
_logger = logging.getLogger(__name__)
_Key = tuple[torch.Size, torch.dtype, bool]


class Graphs:
    """Calls a network, and where the same shape has come STEADY times in a row replays what such a call launches.

    A replay writes into the memory of the one before. Where a result still waits for its backward pass, or no gradients
    are recorded, the network is called as usual. A capture is kept only if it gives the gradients that the call gives.

    Args:
        network: whose parameters get gradients.
        call: computes y from x and the parameters alone, all on one device.
    """

    def __init__(self, network: nn.Module, call: Callable[[Tensor], Tensor]) -> None:
        self._network, self._call = network, call
        self._captured: dict[_Key, Callable[[Tensor], Tensor] | None] = {}
        self._last: _Key | None = None
        self._times = 0
        self._waiting = False

    def __call__(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            graphed = self._graph_for(x) if x.device.type in DEVICES and torch.is_grad_enabled() else None
            if graphed is None or self._waiting:
                return self._call(x)
            y = graphed(x)
            self._waiting = True
            y.register_hook(self._on_backward)
            return y

    def _on_backward(self, gradient: Tensor) -> None:
        self._waiting = False

    def _graph_for(self, x: Tensor) -> Callable[[Tensor], Tensor] | None:
        key = (x.shape, x.dtype, x.requires_grad)
        self._times = self._times + 1 if key == self._last else 1
        self._last = key
        if key not in self._captured and self._times >= STEADY and len(self._captured) < MOST and not self._waiting:
            self._captured[key] = self._capture(x)
        return self._captured.get(key)

    def _capture(self, x: Tensor) -> Callable[[Tensor], Tensor] | None:
        try:
            sample = x.detach().clone().requires_grad_(x.requires_grad)
            with _other_threads_undisturbed():
                graphed: Any = torch.cuda.make_graphed_callables(_Block(self._network, self._call), (sample,))
            if self._agree(graphed, x):
                return graphed
            reason = "its gradients differ"
        except RuntimeError as error:  # of CUDA, which names what cannot be captured
            reason = (str(error).splitlines() or [""])[0]
        _logger.warning("a training step is not replayed as a CUDA graph (%s); its kernels are launched.", reason)
        return None

    def _agree(self, graphed: Callable[[Tensor], Tensor], x: Tensor) -> bool:
        x = x.detach().requires_grad_(x.requires_grad)
        wanted = [value for value in (x, *self._network.parameters()) if value.requires_grad]
        results = []
        for call in (self._call, graphed):
            y = call(x)
            gradients = torch.autograd.grad(y, wanted, torch.ones_like(y), allow_unused=True, materialize_grads=True)
            results.append([value.clone() for value in (y.detach(), *gradients)])  # the next replay writes over them
        return all(torch.allclose(mine, plain, rtol=1e-3, atol=1e-5) for plain, mine in zip(*results))


@contextlib.contextmanager
def _other_threads_undisturbed() -> Iterator[None]:
    """Inside, a capture is not broken by what other threads launch, such as a viewer's. make_graphed_callables has no
    argument for it, and the default of torch.cuda.graph lets any thread's allocation end the capture."""
    usual = torch.cuda.graph
    torch.cuda.graph = functools.partial(usual, capture_error_mode="thread_local")  # type: ignore[misc]
    try:
        yield
    finally:
        torch.cuda.graph = usual  # type: ignore[misc]


class _Block(nn.Module):
    """A call as a module whose parameters are those of a network."""

    def __init__(self, network: nn.Module, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self._call = network, call

    def forward(self, x: Tensor) -> Tensor:
        return self._call(x)
