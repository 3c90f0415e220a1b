"""Checks of what a training asks of its machine, before it starts."""

from __future__ import annotations

import socket

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
    if machine.device_type == "cuda" and machine.num_devices > torch.cuda.device_count():
        raise InputError(
            f"--machine.num-devices {machine.num_devices}, but there are {torch.cuda.device_count()} devices."
        )
    if machine.num_devices < 1:
        raise InputError(f"--machine.num-devices is {machine.num_devices}; it must be at least 1.")
    if machine.device_type != "cuda" and machine.num_devices > 1:
        allow_processes_without_cuda()


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
