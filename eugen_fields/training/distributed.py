"""Lets nerfstudio's own multi-process launch run on CPUs too."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from nerfstudio.utils import comms

from eugen_fields.errors import exit_on_input_error


def allow_processes_without_cuda() -> None:
    """Replaces nerfstudio's worker, which asserts CUDA even for its gloo backend, by one that does not.

    nerfstudio.scripts.train.launch looks the worker up by name when it spawns, so this takes effect for the launch
    that follows in this process.
    """
    from nerfstudio.scripts import train

    train._distributed_worker = _cpu_worker


def _cpu_worker(
    local_rank: int,
    main_func: Callable[..., Any],
    world_size: int,
    num_devices_per_machine: int,
    machine_rank: int,
    dist_url: str,
    config: Any,
    timeout: timedelta,
    device_type: str = "cpu",
) -> Any:
    """One process of a distributed run on CPUs; the arguments are those of nerfstudio's worker."""
    global_rank = machine_rank * num_devices_per_machine + local_rank
    dist.init_process_group("gloo", init_method=dist_url, world_size=world_size, rank=global_rank, timeout=timeout)
    for machine in range(world_size // num_devices_per_machine):
        first = machine * num_devices_per_machine
        group = dist.new_group(list(range(first, first + num_devices_per_machine)))
        if machine == machine_rank:
            comms.LOCAL_PROCESS_GROUP = group
    with exit_on_input_error():
        output = main_func(local_rank, world_size, config, global_rank)
    comms.synchronize()
    dist.destroy_process_group()
    return output
