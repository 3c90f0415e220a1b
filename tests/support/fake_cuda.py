"""A CUDA device that is not there: its tensors say that they are on cuda:0 and lie in the memory of the CPU.

What would fail or wait on a real one is found without one: an operation on tensors of two devices raises, as torch
does, and operations, synchronisations (the host waits for the device) and uploads (the device waits for the host) are
counted. Nothing is said of speed, and no kernel runs.

torch's CUDA build asks CUDA's libraries for a device first; `environment` has those answered by fake_cuda.c, which it
compiles, so tests start a process for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cuda", 0)
CPU = torch.device("cpu")
MESSAGE = "Expected all tensors to be on the same device"
_LIBRARY = "libcuda.so.1"
"""By this name torch opens the driver's library; one that is loaded already is not looked for on disk."""
_Generator = torch.Generator
aten = torch.ops.aten

_WAITS = {
    aten._local_scalar_dense.default: "item",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten.unique_dim.default: "unique",
    aten._unique2.default: "unique",
    aten.unique_consecutive.default: "unique",
    aten.bincount.default: "bincount",
    aten.equal.default: "equal",
}
"""Operations whose result, or the size of it, the host has to know before it goes on."""
_INDEXED = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
"""Operations that take places, which torch brings to the device of the first argument."""
_COPIES = {aten.copy_.default, aten._to_copy.default}


@dataclass
class Counts:
    """What was done since the last reset, by what it was and where in the code."""

    operations: int = 0
    synchronisations: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)

    def numbers(self) -> tuple[int, int, int]:
        """Operations, synchronisations and uploads."""
        return self.operations, self.synchronisations.total(), self.uploads.total()


counts = Counts()


def reset() -> Counts:
    """The counts up to now; they begin anew."""
    global counts
    counts, before = Counts(), counts
    return before


class OnDevice(torch.Tensor):
    """A tensor on the device.

    Attributes:
        inner: the same on the CPU.
    """

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnDevice:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnDevice({self.inner})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.__reduce_ex__(protocol)  # checkpoints are read on the CPU first

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = OnDevice(self.inner.detach().clone())
        if isinstance(self, torch.nn.Parameter):
            return torch.nn.Parameter(copied, requires_grad=self.requires_grad)
        return copied.requires_grad_(self.requires_grad)

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


def _place() -> str:
    """File and line of the package's or nerfstudio's code that is running."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        for root in ("/eugen_fields/", "/nerfstudio/"):
            if root in name and "/support/" not in name:
                return f"{name[name.rindex(root) + 1 :]}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


def _run(function, args, kwargs) -> Any:
    """Computes on the CPU; the result is on the device if an argument was, or if it is asked for there."""
    flat, _ = tree_flatten((args, kwargs))
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]
    on_device = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
    asked = kwargs.get("device")
    if not on_device and (asked is None or torch.device(asked).type != "cuda"):
        return function(*args, **kwargs)
    _check(function, args, tensors)
    result_there = isinstance(args[0], OnDevice) if function in _INDEXED or function is aten.copy_.default else True
    if asked is not None:
        result_there = torch.device(asked).type == "cuda"
        kwargs = kwargs | {"device": CPU}
    kwargs = {name: value for name, value in kwargs.items() if name not in ("pin_memory", "non_blocking")}
    _count(function, args, tensors, result_there)
    args, kwargs = tree_map(_inner, (args, kwargs))
    result = function(*args, **kwargs)
    same = {id(tensor.inner): tensor for tensor in on_device} | {id(tensor): tensor for tensor in tensors}

    def outer(value):
        if not isinstance(value, torch.Tensor) or isinstance(value, OnDevice):
            return value
        if function is not aten._to_copy.default and id(value) in same:  # of operations in place
            return same[id(value)]
        return OnDevice(value) if result_there else value

    return tree_map(outer, result)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnDevice) else value


def _check(function, args, tensors: list[torch.Tensor]) -> None:
    """Raises RuntimeError where torch would: for tensors of two devices, of which only single numbers may be mixed."""
    if function in _COPIES:
        return
    if function in _INDEXED:
        tensors = [args[0], *(value for value in args[2:3] if isinstance(value, torch.Tensor))]
        places = [value for value in args[1] if isinstance(value, OnDevice)]
        if places and not isinstance(args[0], OnDevice):
            raise RuntimeError(f"indices should be on the same device as the indexed tensor (cpu): {_place()}")
    here = [tensor for tensor in tensors if not isinstance(tensor, OnDevice) and tensor.dim() > 0]
    there = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
    if here and there:
        shapes = [[tuple(tensor.shape) for tensor in some] for some in (here, there)]
        raise RuntimeError(f"{MESSAGE}: {function} has cpu {shapes[0]} and cuda:0 {shapes[1]}: {_place()}")


def _count(function, args, tensors: list[torch.Tensor], result_there: bool) -> None:
    counts.operations += 1
    wait = _WAITS.get(function)
    if function is aten.repeat_interleave.Tensor and len(args) == 1:
        wait = "repeat_interleave"
    if function in _INDEXED:
        places = [value for value in args[1] if isinstance(value, torch.Tensor)]
        if any(place.dtype == torch.bool for place in places):
            wait = "index by a mask"
        if isinstance(args[0], OnDevice):
            counts.uploads.update(f"place {_place()}" for place in places if not isinstance(place, OnDevice))
    if function in _COPIES:
        source = args[1] if function is aten.copy_.default else args[0]
        if isinstance(source, OnDevice) and not result_there:
            wait = "copy to the CPU"
        elif not isinstance(source, OnDevice) and result_there:
            counts.uploads[f"copy {_place()}"] += 1
    if wait is not None:
        counts.synchronisations[f"{wait} {_place()}"] += 1


class _Operations(TorchDispatchMode):
    """What makes tensors on the device from nothing, or from those of the CPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What does not come down to operations of torch: lists to tensors, tensors to lists, and places in them."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.Tensor.tolist and isinstance(args[0], OnDevice):
            counts.synchronisations[f"tolist {_place()}"] += 1
            return args[0].inner.tolist()
        if function in (torch.Tensor.numpy, torch.Tensor.__array__) and isinstance(args[0], OnDevice):
            raise TypeError(f"can't convert cuda:0 device type tensor to numpy: {_place()}")
        device = kwargs.get("device")
        if function in (torch.tensor, torch.as_tensor) and device is not None and torch.device(device).type == "cuda":
            return function(*args, **kwargs | {"device": "cpu"}).to(device)
        return function(*args, **kwargs)


def _generator(device: Any = "cpu") -> torch.Generator:
    """In place of torch.Generator: what is computed on the CPU is drawn there."""
    return _Generator("cpu")


@contextlib.contextmanager
def fake_cuda() -> Iterator[None]:
    """Inside, there is one CUDA device."""
    import torch._dynamo  # which is imported on first use, when torch.Generator has to be the class that it is

    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)
    answers = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "is_bf16_supported": True,
        "mem_get_info": (70 << 30, 80 << 30),
        "get_device_name": "no device",
        "max_memory_allocated": 0,
        "memory_allocated": 0,
        **dict.fromkeys(("_lazy_init", "synchronize", "empty_cache", "set_device", "manual_seed_all")),
    }
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, lambda *_, answer=answer, **__: answer))
        stack.enter_context(mock.patch.object(torch, "Generator", _generator))
        stack.enter_context(mock.patch.object(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False))
        stack.enter_context(_Functions())
        stack.enter_context(_Operations())
        yield


def missing() -> str | None:
    """Why there can be no such device here; None where there can."""
    if torch.version.cuda is None:
        return "this torch was built without CUDA"
    if not sys.platform.startswith("linux"):
        return "libraries are preloaded on Linux alone"
    if _compiler() is None:
        return "there is no C compiler for the stand-ins of CUDA's libraries"
    return None


def _compiler() -> str | None:
    return next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)


def environment(folder: Path) -> dict[str, str]:
    """The environment of a process that finds the device's libraries, which are compiled into a folder."""
    compiler = _compiler()
    assert compiler is not None
    library = folder / _LIBRARY
    source = Path(__file__).with_name("fake_cuda.c")
    words = [compiler, "-shared", "-fPIC", "-w", f"-Wl,-soname,{_LIBRARY}", "-o", str(library), str(source)]
    subprocess.run(words, check=True)
    kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return kept | {"LD_PRELOAD": str(library)}
