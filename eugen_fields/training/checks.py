"""Checks of what a training asks of its machine, before it starts."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import torch
from nerfstudio.configs.base_config import MachineConfig

from eugen_fields.errors import InputError
from eugen_fields.training.distributed import allow_processes_without_cuda


def check_device(machine: MachineConfig) -> None:
    """Raises InputError where a training cannot have these devices."""
    if machine.device_type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--machine.device-type cuda, but torch finds no CUDA device. Leave the flag out to train on the CPU."
        )
    if machine.device_type == "mps" and not torch.backends.mps.is_available():
        raise InputError(
            "--machine.device-type mps, but torch finds no GPU of Apple's. Leave the flag out to train on the CPU."
        )
    if machine.device_type == "cuda" and machine.num_devices > torch.cuda.device_count():
        raise InputError(
            f"--machine.num-devices {machine.num_devices}, but there are {torch.cuda.device_count()} devices."
        )
    if machine.num_devices < 1:
        raise InputError(f"--machine.num-devices is {machine.num_devices}; it must be at least 1.")
    if machine.device_type == "mps" and machine.num_devices > 1:
        raise InputError(f"--machine.num-devices {machine.num_devices}, but mps is one device.")
    _check_machines(machine)
    processors = os.cpu_count() or 1
    if machine.device_type == "cpu" and machine.num_devices > max(2, processors):
        raise InputError(
            f"--machine.num-devices is {machine.num_devices}, which starts as many processes on {processors} "
            f"processors; give {max(2, processors)} at most."
        )
    if machine.device_type != "cuda" and machine.num_devices * machine.num_machines > 1:
        allow_processes_without_cuda()


def _check_machines(machine: MachineConfig) -> None:
    """Raises InputError where several machines cannot find each other."""
    if machine.num_machines < 1:
        raise InputError(f"--machine.num-machines is {machine.num_machines}; it must be at least 1.")
    if not 0 <= machine.machine_rank < machine.num_machines:
        raise InputError(
            f"--machine.machine-rank is {machine.machine_rank} of --machine.num-machines {machine.num_machines}; it "
            f"must be from 0 to {machine.num_machines - 1}, another one on each machine."
        )
    if machine.num_machines > 1 and machine.dist_url == "auto":
        raise InputError(
            f"--machine.num-machines {machine.num_machines} needs --machine.dist-url tcp://HOST:PORT: a name of the "
            "first machine and a free port there, the same on all machines."
        )


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Around what needs much memory: raises InputError where there is not enough."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        lack = ("out of memory", "not enough memory", "can't allocate memory")
        if not isinstance(error, MemoryError) and not any(part in str(error).lower() for part in lack):
            raise
        first_line = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"there is not enough memory ({first_line}). Give a smaller --pipeline.target-num-samples, "
            "--pipeline.model.eval-num-samples-per-chunk or --pipeline.model.eval-num-rays-per-chunk, or a smaller "
            "network."
        ) from None


def check_port(host: str, port: int) -> None:
    """Raises InputError where a TCP port cannot be listened on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(
                f"the viewer cannot listen on {host}:{port} ({error}). Choose another port with "
                "--viewer.websocket-port, or leave the flag out to get a free one."
            ) from None
