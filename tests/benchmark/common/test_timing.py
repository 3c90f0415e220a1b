"""Interleaved timing: what is called how often, and what is made of the times."""

from __future__ import annotations

import pytest

from eugen_fields.benchmark.common.devices import choose_device, device_name
from eugen_fields.benchmark.common.timing import interleaved, spread
from eugen_fields.errors import InputError


def test_every_call_has_its_turn_in_every_round() -> None:
    seen: list[str] = []
    calls = {name: lambda name=name: seen.append(name) for name in "abc"}
    times = interleaved(calls, "cpu", 6, warm_up=1, seed=3)
    rounds = ["".join(seen[start : start + 3]) for start in range(0, len(seen), 3)]
    assert len(rounds) == 7 and all(sorted(turn) == list("abc") for turn in rounds)
    assert len(set(rounds)) > 1, "the order is drawn anew for every round"
    assert {name: len(values) for name, values in times.items()} == {"a": 6, "b": 6, "c": 6}
    assert all(value >= 0 for values in times.values() for value in values)


def test_orders_are_those_of_the_seed() -> None:
    seen: list[list[str]] = []
    for seed in (1, 1, 2):
        seen.append([])
        interleaved({name: lambda name=name: seen[-1].append(name) for name in "abcd"}, "cpu", 3, seed=seed)
    assert seen[0] == seen[1] != seen[2]


def test_spread_has_quartiles_in_the_unit_that_is_asked_for() -> None:
    found = spread([0.004, 0.001, 0.002, 0.003, 0.005], 1000.0)
    expected = {"median": 3, "lower": 2, "upper": 4, "least": 1, "largest": 5}
    assert found == pytest.approx(expected)
    assert set(spread([2.0]).values()) == {2.0}


def test_devices_are_named_and_checked() -> None:
    assert choose_device("cpu") == "cpu" and "threads" in device_name("cpu")
    with pytest.raises(InputError, match="--device tpu"):
        choose_device("tpu")


def test_missing_cuda_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="finds no CUDA device"):
        choose_device("cuda")
    assert choose_device(None) == "cpu"
