"""Numbers of flags that cannot be meant are refused by the name of the flag, before anything is built."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from support.hostile import numbers_of_method

from eugen_fields.errors import InputError
from eugen_fields.methods import METHODS
from eugen_fields.training import numbers
from eugen_fields.training.checks import check_device, memory_errors


def config_with(method: str, flag: str, value: object):
    """A method's settings with one of them changed."""
    config = copy.deepcopy(METHODS[method])
    *path, last = flag.removeprefix("--").replace("-", "_").split(".")
    settings = config
    for name in path:
        settings = settings[name] if isinstance(settings, dict) else getattr(settings, name)
    setattr(settings, last, value)
    return config


@pytest.mark.parametrize("method", METHODS)
def test_the_methods_themselves_pass(method):
    numbers.check_numbers(METHODS[method])


@pytest.mark.parametrize("method", ["eugen-nerf-tiny", "eugen-mipnerf-tiny", "eugen-isdf-tiny"])
@pytest.mark.parametrize("value", [10**30, -(10**400), float("nan"), -1e30, float("-inf"), 2.0**1000])
def test_every_number_of_every_method_is_looked_at(method, value):
    flags = numbers_of_method(method)
    assert len(flags) > 40
    for flag in flags:
        with pytest.raises(InputError) as caught:
            numbers.check_numbers(config_with(method, flag, value))
        assert caught.value.message.startswith(f"{flag} is "), caught.value.message
        assert "it must" in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--pipeline.model.layer-width", -5),
        ("--pipeline.model.layer-width", 100_000),
        ("--pipeline.model.proposal-samples", (64, 10**9)),
        ("--pipeline.model.grid-resolution", 100_000),
        ("--pipeline.target-num-samples", 0),
        ("--pipeline.max-num-rays", -1),
        ("--pipeline.model.eval-num-rays-per-chunk", 0),
        ("--pipeline.datamanager.train-num-images-to-sample-from", -2),
        ("--optimizers.fields.optimizer.betas", (0.9, 1.0)),
        ("--optimizers.fields.optimizer.momentum", 1.0),
        ("--optimizers.fields.optimizer.eps", -1e-8),
        ("--optimizers.fields.scheduler.final-factor", float("nan")),
        ("--steps-per-save", -1),
    ],
)
def test_sizes_counts_and_shares(flag, value):
    with pytest.raises(InputError, match=f"^{flag} is "):
        numbers.check_numbers(config_with("eugen-mipnerf-tiny", flag, value))


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--pipeline.datamanager.train-num-images-to-sample-from", -1),
        ("--steps-per-save", 0),
        ("--machine.seed", 0),
        ("--pipeline.datamanager.dataparser.max-depth", math.inf),
        ("--pipeline.model.layer-width", 1024),
    ],
)
def test_numbers_that_are_meant(flag, value):
    numbers.check_numbers(config_with("eugen-isdf-tiny", flag, value))


def test_networks_and_steps_beyond_the_memory_of_the_computer(monkeypatch):
    monkeypatch.setattr(numbers, "physical_memory", lambda: 8e9)
    with pytest.raises(InputError, match="--pipeline.model.num-layers 8 and .*layer-width 16384 .* 8 GB"):
        numbers.check_numbers(config_with("eugen-nerf", "--pipeline.model.layer-width", 16384))
    large = config_with("eugen-nerf", "--pipeline.target-num-samples", 1 << 26)
    large.machine.device_type = "cpu"
    with pytest.raises(InputError, match="--pipeline.target-num-samples 67108864 needs about .* GB for each step"):
        numbers.check_numbers(large)
    large.machine.device_type = "cuda"
    numbers.check_numbers(large)


def test_a_lack_of_memory_is_one_line():
    with pytest.raises(InputError, match="not enough memory .*--pipeline.target-num-samples"), memory_errors():
        torch.empty(1 << 60)
    with pytest.raises(RuntimeError, match="something else"), memory_errors():
        raise RuntimeError("something else")


def test_devices_that_are_not_there():
    machine = copy.deepcopy(METHODS["eugen-nerf-tiny"].machine)
    machine.device_type, machine.num_devices = "cpu", 1000
    with pytest.raises(InputError, match="--machine.num-devices is 1000.*processors"):
        check_device(machine)
    if not torch.backends.mps.is_available():
        machine.device_type, machine.num_devices = "mps", 1
        with pytest.raises(InputError, match="--machine.device-type mps, but torch finds no GPU"):
            check_device(machine)
