"""What every field shares: a scene box, a trunk, and the ways to evaluate them."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn

from eugen_fields.kernels import Backend, NetworkEvaluator
from eugen_fields.layers import MLP

Self = TypeVar("Self", bound="Field")


class Field(nn.Module):
    """A network of points in a scene box. Its `evaluator` says how it is computed, by torch or by kernels."""

    aabb: Tensor
    trunk: MLP

    def __init__(self) -> None:
        super().__init__()
        self.evaluator = NetworkEvaluator()

    def __getstate__(self) -> dict[str, Any]:
        """What copies get: an evaluator of their own, without the kernels of this field."""
        return self.__dict__ | {"evaluator": copy.copy(self.evaluator)}

    def use_backend(self: Self, backend: Backend) -> Self:
        """Sets how the field is evaluated from now on (the words are those of models.layer_flags); returns the field.

        Raises:
            ValueError: a backend that is not offered, or not for this kind of field.
        """
        self.evaluator.use(backend, self)
        return self

    def set_trunk(self, trunk: MLP) -> None:
        """Puts another trunk, which reads and gives as much as the old one, in its place. Kernels are made anew."""
        self.trunk = trunk
        self.evaluator.forget_kernels()

    def evaluate_network(self, name: str, x: Tensor) -> Tensor:
        """y (N, out_dim) of the named network at x (N, in_dim), with the selected backend."""
        return self.evaluator.network(name, getattr(self, name), x)

    def evaluate_encoding(self, name: str, x: Tensor) -> Tensor:
        """The named encoding (N, out_dim) of x (N, in_dim), with the selected backend."""
        return self.evaluator.encoding(name, getattr(self, name), x)

    def prepare_training(self) -> None:
        """Makes the kernels that the selected backend has for training and for evaluations in its midst; the first of
        these would do it otherwise."""
        self.evaluator.prepare_training(self)
        self.evaluator.prepare_inference(self)

    def folded(self: Self) -> Self:
        """The inference form: a copy with folded MLPs (same outputs and gradients to rounding, fewer multiplications,
        nothing to train), evaluated by kernels where the selected backend has some."""
        return self.evaluator.inference_form(self)
