"""What a device does at the most, which figures of kernels are judged by."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from eugen_fields.benchmark.common.timing import interleaved, spread


def device_figures(device: str) -> dict[str, float]:
    """Figures of a device: copy_terabytes_per_second in its memory; matmul_tera_per_second, multiplications and
    additions of a product of large matrices, by the type of numbers; on CUDA also launch_microseconds, the host's time
    for one small operation, and wait_microseconds, that for one whose result the host waits for."""
    on_gpu = device.startswith("cuda")
    source = torch.zeros((1 << 28) if on_gpu else (1 << 20), device=device)
    target = torch.empty_like(source)
    calls: dict[str, Callable[[], Any]] = {"copy": lambda: target.copy_(source)}
    size = 8192 if on_gpu else 256
    types = ("float32", "float16", "bfloat16") if on_gpu else ("float32",)
    for name in types:
        left, right = (torch.randn(size, size, device=device).to(getattr(torch, name)) for _ in range(2))
        calls[name] = lambda left=left, right=right: left @ right
    seconds = {name: spread(times)["median"] for name, times in interleaved(calls, device, 5).items()}
    found = {"copy_terabytes_per_second": 2e-12 * source.nbytes / seconds["copy"]}
    found |= {f"matmul_tera_per_second.{name}": 2e-12 * size**3 / seconds[name] for name in types}
    if on_gpu:
        small = torch.zeros(8, device=device)
        found["launch_microseconds"] = _microseconds(lambda: small.add_(1.0))
        found["wait_microseconds"] = _microseconds(lambda: small[0].item())
    return found


def _microseconds(call: Callable[[], Any], count: int = 2000) -> float:
    """The host's time for a call."""
    call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        call()
    spent = time.perf_counter() - start
    torch.cuda.synchronize()
    return 1e6 * spent / count
