"""Turns the source of a kernel into something that runs: on a GPU, or in Triton's interpreter on a CPU."""

import contextlib
import functools
import hashlib
import linecache
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor

from eugen_fields.kernels.write.program import Program, ProgramWriter

CPU = torch.device("cpu")
OPERATIONS = ("tiles.py", "activations.py", "tangents.py")
"""Files of kernels/ops, which generated kernels call."""
COUNTS = ("count", "size_class", "PER_PROCESSOR")
"""Integer arguments of generated kernels."""
INTERPRETER_BLOCK = 64
"""Rows per tile in the interpreter, where every operation on a tile is a call of numpy."""


def _kernel(function: Callable[..., None], interpreted: bool) -> Any:
    """What triton.jit makes of a function, whatever TRITON_INTERPRET says. Counts are not compiled in."""
    if interpreted:
        from triton.runtime.interpreter import InterpretedFunction

        return InterpretedFunction(function)
    from triton.runtime.jit import JITFunction

    return JITFunction(function, do_not_specialize=[name for name in COUNTS if name in signature(function).parameters])


@functools.cache
def operations(interpreted: bool) -> ModuleType:
    """OPERATIONS with every function compiled or interpreted. A module of its own for each: functions call each other
    by their global names."""
    module = ModuleType(f"{__package__}.{'interpreted' if interpreted else 'compiled'}_ops")
    for file in OPERATIONS:
        path = Path(__file__).parents[1] / "ops" / file
        exec(compile(path.read_text(), str(path), "exec"), vars(module))
    for key, value in list(vars(module).items()):
        if isinstance(value, FunctionType):
            setattr(module, key, _kernel(value, interpreted))
    return module


@functools.cache
def build(source: str, interpreted: bool) -> Any:
    """The kernel of a generated source that defines one function. Kept: equal sources give one kernel."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    filename = f"<eugen_fields kernel {digest}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)  # inspect reads it here
    namespace: dict[str, Any] = dict(vars(operations(interpreted)))
    before = set(namespace)
    exec(compile(source, filename, "exec"), namespace)
    (name,) = [key for key in namespace if key not in before and key != "__builtins__"]
    return _kernel(namespace[name], interpreted)


SPARE_BYTES = 4 * 1024
"""Shared memory that sums along rows and the like need."""
HOPPER_BYTES = 227 * 1024
"""Shared memory of a program on a Hopper GPU."""
PIECE = 64
LARGE_BATCH = 1 << 14
"""Rows from which on a batch is timed, and its tile chosen, apart from small ones."""
LAYOUTS = [(64, 4, 1), (64, 4, 2), (128, 8, 1)]
"""Rows per tile, warps, and programs per multiprocessor that are timed. A warp multiplies 16 rows at once, so fewer
rows than 16 per warp would be padded; more than 16 need more registers than there are, and so
do two programs of 8 warps."""
PATIENCE = 3.0
"""Seconds of compilation before a line says what is going on."""

_logger = logging.getLogger(__name__)
_compiled: set[str] = set()


class _Waiting(threading.local):
    """Per-thread map from uncompiled sources to their compile functions; None outside compiled_together."""

    sources: dict[str, Callable[[], Any]] | None = None


_waiting = _Waiting()


def fits(writer: ProgramWriter, device: torch.device) -> bool:
    """Whether all weights can stay on the chip beside the largest tile: on a Hopper GPU up to about 200 KiB of them."""
    available = HOPPER_BYTES
    if device.type == "cuda":
        available = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
    largest = max(block for block, _, _ in LAYOUTS)
    return writer.weight_bytes() + writer.staged_bytes(largest) + SPARE_BYTES <= available


def write_program(
    name: str,
    write: Callable[[ProgramWriter], tuple[str, ...]],
    dtype: torch.dtype,
    device: torch.device = CPU,
    *,
    emulated: bool = False,
    tangents: bool = False,
) -> Program:
    """The program of a network: its weights stay on the chip where they fit, and are streamed where they do not.

    Args:
        name: of the kernel.
        write: writes the network into a ProgramWriter and returns the names of the kernel's pointers.
        dtype: of the operands.
        device: where the kernel will run.
        emulated, tangents: of the ProgramWriter.
    """
    writer = ProgramWriter(dtype, PIECE, emulated, tangents)
    pointers = write(writer)
    return writer.program(name, pointers, resident=fits(writer, device))


def run(program: Program, *arrays: Tensor) -> None:
    """Runs a program on its pointers, contiguous and for as many points each, on their device: a GPU, or the CPU for
    Triton's interpreter."""
    count, device = program.rows_per_point * len(arrays[0]), arrays[0].device
    if count == 0:
        return
    arguments = (*arrays, program.weights, program.vectors, count, int(count >= LARGE_BATCH))
    if device.type == "cpu":
        grid = (min(-(-count // INTERPRETER_BLOCK), 2),)  # two programs, so that tests see the stride between them
        build(program.source, True)[grid](*arguments, BLOCK=INTERPRETER_BLOCK, PER_PROCESSOR=1)
        return
    processors = torch.cuda.get_device_properties(device).multi_processor_count

    def grid_of(chosen: dict[str, int]) -> tuple[int]:
        return (min(-(-count // chosen["BLOCK"]), processors * chosen["PER_PROCESSOR"]),)

    with torch.cuda.device(device):
        if _waiting.sources is not None and program.source not in _compiled:
            _waiting.sources[program.source] = lambda: tuned(program.source).warmup(*arguments, grid=grid_of)
            return
        tuned(program.source)[grid_of](*arguments)
        _compiled.add(program.source)


@contextlib.contextmanager
def compiled_together() -> Iterator[dict[str, Any]]:
    """Inside, run() launches no kernel that this process has not had yet; on leaving, those are compiled, in all their
    layouts at once on all cores. Yields them by their sources: empty where nothing was new and everything ran.
    What does not compile says so when it is launched. Other threads are not affected, which is why backward passes stay
    in this one. Not to be nested."""
    waiting = _waiting.sources = {}
    try:
        with torch.autograd.set_multithreading_enabled(False):
            yield waiting
    finally:
        _waiting.sources = None
    if not waiting:
        return
    from triton import AsyncCompileMode

    line = "Compiling %d kernels for this GPU, which can take a minute; later runs find them on disk."
    notice = threading.Timer(PATIENCE, _logger.warning, (line, len(waiting)))
    notice.start()
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool, AsyncCompileMode(pool, ignore_errors=True):
            for compile_layouts in waiting.values():
                compile_layouts()
    finally:
        notice.cancel()
    _compiled.update(waiting)


@functools.cache
def tuned(source: str) -> Any:
    """The compiled kernel that times LAYOUTS at its first call for small and for large batches, and keeps the fastest,
    also for later processes."""
    import triton

    configs = [
        triton.Config({"BLOCK": block, "PER_PROCESSOR": programs}, num_warps=warps, num_stages=1)
        for block, warps, programs in LAYOUTS
    ]
    return triton.autotune(configs, key=["size_class"], cache_results=True)(build(source, False))
