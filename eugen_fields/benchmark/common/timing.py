"""Times calls in turn, so that what else the machine does hits all of them alike."""

from __future__ import annotations

import functools
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

Times = dict[str, list[float]]
"""Seconds of every round, by the name of the call."""


def interleaved(
    calls: dict[str, Callable[[], Any]], device: str, rounds: int, *, warm_up: int = 2, seed: int = 0, bar: Any = None
) -> Times:
    """Times every call once a round, in an order drawn anew for every round.

    Args:
        calls: what to time, by name.
        device: cpu (wall clock), or a CUDA device (its events around the call, and the device waited for).
        rounds: times that each is measured.
        warm_up: rounds before, which do not count: memory, caches, compilation.
        seed: of the orders.
        bar: a tqdm bar that moves by one for every call.
    """
    clock = functools.partial(_cuda_seconds, device) if device.startswith("cuda") else _wall_seconds
    orders = random.Random(seed)
    times: Times = {name: [] for name in calls}
    for turn in range(-warm_up, rounds):
        names = list(calls)
        orders.shuffle(names)
        for name in names:
            seconds = clock(calls[name])
            if turn >= 0:
                times[name].append(seconds)
            if bar is not None:
                bar.update(1)
    return times


def spread(values: list[float], scale: float = 1.0) -> dict[str, float]:
    """Median, quartiles, least and largest, times `scale`."""
    ordered = sorted(scale * value for value in values)
    if len(ordered) > 1:
        low, middle, high = statistics.quantiles(ordered, n=4, method="inclusive")
    else:
        low = middle = high = ordered[0]
    return {"median": middle, "lower": low, "upper": high, "least": ordered[0], "largest": ordered[-1]}


def _wall_seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _cuda_seconds(device: str, call: Callable[[], Any]) -> float:
    import torch

    with torch.cuda.device(device):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000.0
