"""What every field shares: a scene box, a trunk, and the ways to evaluate them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from eugen_fields.kernels import (
    Backend,
    FusedField,
    fused_field,
    fused_training,
    tiled,
    tiny_cuda_encoding,
    tiny_cuda_network,
)
from eugen_fields.layers import MLP

Self = TypeVar("Self", bound="Field")


class Field(nn.Module):
    """A network of points in a scene box.

    `backend` says how it is evaluated (models.layer_flags); it may be set at any time. `fused` is the kernel of an
    inference form, if it has one.
    """

    aabb: Tensor
    trunk: MLP
    backend: Backend = "auto"
    fused: FusedField | None = None

    def __init__(self) -> None:
        super().__init__()
        self._kernels: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What copies get: not the kernels, which belong to the networks of this field and may hold CUDA graphs."""
        return self.__dict__ | {"_kernels": {}}

    def through(self, name: str, x: Tensor) -> Tensor:
        """y (N, out_dim) of the network with this name at x (N, in_dim), by what `backend` has in its place."""
        network = getattr(self, name)
        kernel = self._mlp_kernel(name) if type(network) is MLP else None
        return network(x) if kernel is None else kernel(x)

    def encoded(self, name: str, x: Tensor) -> Tensor:
        """The encoding (N, out_dim) with this name of x (N, in_dim); with the backend "tcnn" by tiny-cuda-nn, where no
        gradient of x is wanted."""
        encoding, kernel = getattr(self, name), None
        if self.backend == "tcnn" and not (x.requires_grad and torch.is_grad_enabled()):
            kernel = self._kernel(name, tiny_cuda_encoding, encoding)
        return encoding(x) if kernel is None else kernel(x)

    def prepare_training(self) -> None:
        """Makes the kernels of the backend "fused" before training starts; the first step would do it otherwise."""
        for name, network in self.named_children():
            if type(network) is MLP:
                self._mlp_kernel(name)

    def _mlp_kernel(self, name: str) -> Any:
        if self.backend == "tcnn":
            return self._kernel(name, tiny_cuda_network, getattr(self, name))
        make = functools.partial(fused_training, input_gradient=name != "trunk")  # points are not trained
        return self.training_kernel(name, make, getattr(self, name))

    def training_kernel(self, name: str, make: Callable[..., Any], network: nn.Module) -> Any:
        """The kernels that the backend "fused" has for training a network; None where there are none."""
        if self.backend != "fused" or not self.training or not torch.is_grad_enabled():
            return None
        return self._kernel(name, make, network)

    def _kernel(self, name: str, make: Callable[..., Any], network: nn.Module) -> Any:
        """What `make` has in place of a network, made when it is first asked for: only then is the device known."""
        if name not in self._kernels:
            self._kernels[name] = None  # for the check that making them involves: in plain torch
            self._kernels[name] = make(network, self.backend)
        return self._kernels[name]

    def folded(self: Self) -> Self:
        """The inference form: a copy with folded MLPs (same outputs and gradients to rounding, fewer multiplications,
        nothing to train). On a CPU they take points in tiles; on a GPU one fused kernel evaluates the whole field where
        it serves, with float16 operands. Networks that tiny-cuda-nn evaluates are copied as they are."""
        folded = tiled(self)
        assert isinstance(folded, type(self))
        if self.backend == "tcnn":
            for name, network in self.named_children():
                if type(network) is MLP and self._mlp_kernel(name) is not None:
                    setattr(folded, name, copy.deepcopy(network).requires_grad_(False))
        else:
            folded.fused = fused_field(self, self.backend)
        return folded
