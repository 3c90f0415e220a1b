"""What every field shares: a scene box, a trunk, and the ways to evaluate them."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from eugen_fields.kernels import Backend, FusedField, FusedMLP, fused_field, fused_training, tiled
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
        self._training_kernels: dict[str, FusedMLP | None] = {}

    def through(self, name: str, x: Tensor) -> Tensor:
        """y (N, out_dim) of the network with this name at x (N, in_dim); in training with the backend "fused" by its
        kernels."""
        network = getattr(self, name)
        if self.backend == "fused" and self.training and type(network) is MLP and torch.is_grad_enabled():
            if name not in self._training_kernels:
                self._training_kernels[name] = fused_training(network, self.backend)
            kernel = self._training_kernels[name]
            if kernel is not None:
                return kernel(x)
        return network(x)

    def folded(self: Self) -> Self:
        """The inference form: a copy with folded MLPs (same outputs and gradients to rounding, fewer multiplications,
        nothing to train). On a CPU they take points in tiles; on a GPU one fused kernel evaluates the whole field where
        it serves, with float16 operands."""
        folded = tiled(self)
        assert isinstance(folded, type(self))
        folded.fused = fused_field(folded, self.backend)
        return folded
