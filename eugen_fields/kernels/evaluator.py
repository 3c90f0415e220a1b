"""Evaluates the networks of one field: by kernels where its backend has some that prove right, else in plain torch."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor, nn

from eugen_fields.kernels import select
from eugen_fields.kernels.distance import FusedDistance
from eugen_fields.kernels.field import FusedField
from eugen_fields.kernels.select import (
    Backend,
    fused_distance_training,
    fused_field,
    fused_training,
    tiny_cuda_encoding,
    tiny_cuda_network,
)
from eugen_fields.kernels.tiled import tiled
from eugen_fields.kernels.tiny_cuda import clear_biases
from eugen_fields.layers import MLP

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class NetworkEvaluator:
    """Evaluates the networks and encodings of a field, and remembers the kernels that it made for them.

    Kernels are made at the first call that needs one, as only then the device is known, and under the name that the
    network has in its field. They belong to the networks of that field and may hold CUDA graphs: copies and pickles of
    an evaluator have none.

    Attributes:
        backend: as in models.layer_flags.
        fused: the kernel of a whole field in its inference form, if it has one.
        kernels: what was made for training, or by tiny-cuda-nn, by name; None: plain torch has to do.
    """

    backend: Backend = "auto"
    fused: FusedField | None = None

    def __init__(self) -> None:
        self.kernels: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"kernels": {}}

    def use(self, backend: Backend, field: nn.Module) -> None:
        """Evaluates the field by this backend from now on. For tiny-cuda-nn, which has no biases, those of its dense
        networks are set to 0, and stay there.

        Raises:
            ValueError: a word that is not offered.
        """
        if backend not in get_args(Backend):
            raise ValueError(f"backend is {backend!r}; it must be one of {', '.join(get_args(Backend))}")
        if backend == "tcnn":
            for network in field.modules():
                if isinstance(network, MLP) and network.layer == "dense":
                    clear_biases(network)
        self.backend = backend

    # Evaluation

    def network(self, name: str, network: nn.Module, x: Tensor) -> Tensor:
        """y (N, out_dim) of a network at x (N, in_dim)."""
        kernel = self._mlp_kernel(name, network) if type(network) is MLP else None
        return network(x) if kernel is None else kernel(x)

    def encoding(self, name: str, encoding: nn.Module, x: Tensor) -> Tensor:
        """The encoding (N, out_dim) of x (N, in_dim): with the backend "tcnn" by tiny-cuda-nn, where no gradient of x
        is wanted."""
        kernel = None
        if self.backend == "tcnn" and not (x.requires_grad and torch.is_grad_enabled()):
            kernel = self._kernel(name, tiny_cuda_encoding, encoding)
        return encoding(x) if kernel is None else kernel(x)

    def whole_field(self, *inputs: Tensor) -> FusedField | None:
        """The kernel of the whole field, if it has one and these inputs are for it."""
        return self.fused if self.fused is not None and all(map(self.fused.serves, inputs)) else None

    def distance_training(self, field: nn.Module) -> FusedDistance | None:
        """The kernels that train a field of signed distance on its values and gradients; None: plain torch has to
        do."""
        return self._training_kernel("distance", fused_distance_training, field)

    # Kernels

    def forget_kernels(self) -> None:
        """Drops what was made for the networks of the field, which are about to be others."""
        self.kernels, self.fused = {}, None

    def prepare_training(self, field: nn.Module) -> None:
        """Makes the kernels that train the networks of a field; the first step would do it otherwise."""
        for name, network in field.named_children():
            if type(network) is MLP:
                self._mlp_kernel(name, network)

    def prepare_inference(self, field: nn.Module) -> None:
        """Has the kernel of the inference form compiled and its tiles chosen; the first evaluation would do it
        otherwise, while the clock of a training runs."""
        if self.backend in ("auto", "fused") and next(field.parameters()).device.type in select.DEVICES:
            self.inference_form(field)

    def inference_form(self, field: AnyModule) -> AnyModule:
        """A copy of a field with folded MLPs: on a CPU they take points in tiles; on a GPU one fused kernel evaluates
        the whole field where it serves, with float16 operands. Networks that tiny-cuda-nn evaluates are copied as they
        are. The copy has an evaluator of its own, in `evaluator`."""
        folded = tiled(field)
        assert isinstance(folded, type(field))
        if self.backend == "tcnn":
            for name, network in field.named_children():
                if type(network) is MLP and self._mlp_kernel(name, network) is not None:
                    setattr(folded, name, copy.deepcopy(network).requires_grad_(False))
        else:
            evaluator = folded.evaluator
            assert isinstance(evaluator, NetworkEvaluator)
            evaluator.fused = fused_field(field, self.backend)
        return folded

    def _mlp_kernel(self, name: str, network: MLP) -> Any:
        if self.backend == "tcnn":
            return self._kernel(name, tiny_cuda_network, network)
        make = functools.partial(fused_training, input_gradient=name != "trunk")  # points are not trained
        return self._training_kernel(name, make, network)

    def _training_kernel(self, name: str, make: Callable[..., Any], network: nn.Module) -> Any:
        if self.backend != "fused" or not network.training or not torch.is_grad_enabled():
            return None
        return self._kernel(name, make, network)

    def _kernel(self, name: str, make: Callable[..., Any], network: nn.Module) -> Any:
        if name not in self.kernels:
            self.kernels[name] = None  # for the check that making them involves: in plain torch
            self.kernels[name] = make(network, self.backend)
        return self.kernels[name]
