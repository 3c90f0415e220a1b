"""The device that a benchmark runs on."""

from __future__ import annotations

from eugen_fields.benchmark.common.results import environment
from eugen_fields.errors import InputError


def choose_device(device: str | None) -> str:
    """The device that --device names: "cpu" or a CUDA device; None takes CUDA if there is one.

    Raises:
        InputError: another name, or CUDA where torch finds none.
    """
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and device.partition(":")[0] != "cuda":
        raise InputError(f"--device {device}: there are cpu and cuda.")
    if device != "cpu" and not torch.cuda.is_available():
        raise InputError(f"--device {device}, but torch finds no CUDA device. Leave it out to use the CPU.")
    return device


def device_name(device: str) -> str:
    """The name of the GPU, or of the processor with the number of threads."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{environment()['processor']}, {torch.get_num_threads()} threads"
