"""A device without float64, which stands in for Apple's GPUs (mps): its tensors lie in the memory of the CPU, and
making one of float64 is the error that it is there.

torch's Python backend (PrivateUse1) has room for one such device in a process, so tests start a process for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

NAME = "single"
_Generator = torch.Generator
MESSAGE = "float64 on a device without it"


class OnDevice(torch.Tensor):
    """A tensor on the device.

    Attributes:
        inner: the same on the CPU.
    """

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnDevice:
        if inner.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"{MESSAGE}: shape {tuple(inner.shape)}")
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnDevice({self.inner})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.__reduce_ex__(protocol)  # checkpoints are read on the CPU first

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


def _run(function, args, kwargs) -> Any:
    """Computes on the CPU; the result is on the device if an argument was, or if it is asked for there."""
    found = []

    def inner(value):
        if isinstance(value, OnDevice):
            found.append(value)
            return value.inner
        return value

    args, kwargs = tree_map(inner, args), tree_map(inner, kwargs)
    on_device = bool(found)
    if kwargs.get("device") is not None:
        on_device = torch.device(kwargs["device"]).type == NAME
        kwargs["device"] = torch.device("cpu")
    if kwargs.get("dtype") == torch.float64 and on_device:
        raise TypeError(f"{MESSAGE}: {function}")
    result = function(*args, **kwargs)
    if not on_device:
        return result
    same = {id(value.inner): value for value in found}  # of operations in place

    def outer(value):
        if isinstance(value, torch.Tensor) and not isinstance(value, OnDevice):
            return same[id(value)] if id(value) in same else OnDevice(value)
        return value

    return tree_map(outer, result)


class _Operations(TorchDispatchMode):
    """What makes tensors on the device from nothing, or from those of the CPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What does not come down to operations of torch: `single` is `single:0`; lists to tensors, tensors to lists, and
    places in them."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        def named(value):
            is_device = isinstance(value, (str, torch.device)) and str(value) == NAME
            return torch.device(NAME, 0) if is_device else value

        args, kwargs = tree_map(named, args), tree_map(named, kwargs or {})
        if function is torch.Tensor.tolist and isinstance(args[0], OnDevice):
            return args[0].inner.tolist()
        if function is torch.Tensor.__setitem__ and isinstance(args[0], OnDevice) and not args[0].requires_grad:
            place, value = tree_map(lambda one: one.inner if isinstance(one, OnDevice) else one, args[1:])
            args[0].inner[place] = value
            return None
        if function is torch.Tensor.__getitem__ and isinstance(args[0], OnDevice):
            place = args[1]
            if isinstance(place, list) and any(isinstance(one, torch.Tensor) for one in place):
                place = tuple(place)  # as nerfstudio's cameras are indexed
            places = place if isinstance(place, tuple) else (place,)
            return function(
                args[0], tuple(OnDevice(torch.tensor(one)) if isinstance(one, list) else one for one in places)
            )
        if function in (torch.tensor, torch.as_tensor) and str(kwargs.get("device")).startswith(NAME):
            return function(*args, **kwargs | {"device": "cpu"}).to(kwargs["device"])
        return function(*args, **kwargs)


class _Module:
    """torch.single."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16]


@contextlib.contextmanager
def single_precision() -> Iterator[str]:
    """The name of the device, which exists inside the context; the first one of a process makes it."""
    import torch._dynamo  # which is imported on first use, when torch.Generator has to be the class that it is
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    if torch._C._get_privateuse1_backend_name() != NAME:
        _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    with _Functions(), _Operations(), mock.patch.object(torch, "Generator", _generator):
        yield NAME


def _generator(device: Any = "cpu") -> torch.Generator:
    """In place of torch.Generator: what is computed on the CPU is drawn there."""
    return _Generator("cpu" if str(device).startswith(NAME) else device)
