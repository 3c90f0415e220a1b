"""eugen-bench layers: what is compared, what the ratios are, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from eugen_fields.benchmark.layers import layer_networks
from eugen_fields.benchmark.layers.layer_networks import (
    Kind,
    build,
    compile_kernels,
    inference_calls,
    kinds,
    make_inputs,
    sizes,
    training_calls,
)
from eugen_fields.benchmark.layers.layers import Layers
from eugen_fields.benchmark.layers.layers_report import key, ratios, speedups
from eugen_fields.errors import InputError
from eugen_fields.kernels import FusedMLP, select

TINY = {"width": (16,), "num_features": (4, 8), "batch": (64,), "train_batch": (32,), "tile": (16, 32), "rounds": 2}
TINY |= {"backend": ("eager", "tiled"), "device": "cpu"}


def test_results_are_complete_and_not_measured_twice(tmp_path: Path, capsys) -> None:
    bench = Layers(order=(1, 2), json=tmp_path / "layers.json", **TINY)
    bench.main()
    text = bench.json.read_text()
    document = json.loads(text)
    groups = {(group["mode"], group["order"]): group for group in document["runs"]}
    assert set(groups) == {("inference", 1), ("inference", 2), ("training", 1), ("training", 2)}
    names = {result["kind"] for result in groups["inference", 1]["results"]}
    m = (4, 8)
    assert names == {"dense", "prp", *(f"{kind}.m{size}" for kind in ("eugen", "snnk", "low-rank") for size in m)}
    assert {result["kind"] for result in groups["training", 2]["results"]} == {"dense", "eugen.m4", "eugen.m8"}
    ways = {(result["backend"], result["tile"]) for result in groups["inference", 1]["results"]}
    assert ways == {("eager", None), ("tiled", 16), ("tiled", 32)}
    for group in document["runs"]:
        for result in group["results"]:
            times = result["ms"]
            assert 0 < times["least"] <= times["lower"] <= times["median"] <= times["upper"] <= times["largest"]
            assert result["points_per_second"] == pytest.approx(1000 * group["batch"] / times["median"])
    assert document["ratios"] == ratios(document["runs"])
    assert document["speedups"] == speedups(document["runs"])
    output = capsys.readouterr().out
    assert "| eugen, m = 4 |" in output and "order 2" in output
    assert bench.json.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    bench.main()
    assert bench.json.read_text() == text
    Layers(order=(1,), json=bench.json, **(TINY | {"width": (8,), "mode": ("inference",)})).main()
    grown = json.loads(bench.json.read_text())
    assert len(grown["runs"]) == 5 and grown["ratios"].items() > document["ratios"].items()


def fake(**changes) -> dict:
    results = [
        {"kind": kind, "layer": kind.partition(".")[0], "backend": backend, "tile": tile, "ms": {"median": time}}
        for kind, backend, tile, time in (
            ("dense", "eager", None, 12.0),
            ("dense", "tiled", 256, 8.0),
            ("dense", "tiled", 512, 6.0),
            ("eugen.m32", "eager", None, 4.0),
            ("eugen.m32", "tiled", 256, 2.0),
            ("eugen.m32", "tiled", 512, 3.0),
            ("prp", "eager", None, 5.0),
        )
    ]
    usual = {"device": "cpu", "mode": "inference", "network": "trunk", "width": 256, "order": 1, "dtype": "float32"}
    return usual | {"batch": 65536, "results": results} | changes


def test_ratios_compare_each_kind_at_its_fastest() -> None:
    assert ratios([fake()]) == {"cpu.inference.w256.eugen.m32": 3.0, "cpu.inference.w256.prp": 1.2}
    assert speedups([fake()]) == {
        "cpu.inference.w256.dense.tiled": 2.0,
        "cpu.inference.w256.eugen.m32.tiled": 2.0,
    }


def test_keys_name_what_is_unusual() -> None:
    assert key(fake(), "dense") == "cpu.inference.w256.dense"
    assert key(fake(mode="training", batch=8192), "snnk.m64") == "cpu.training.w256.snnk.m64"
    other = fake(device="cuda:0", network="field", order=2, dtype="bfloat16", batch=4096)
    assert key(other, "eugen.m64") == "cuda.inference.w256.eugen.m64.field.order2.bfloat16.b4096"


def test_low_rank_layers_have_a_rank_and_orders_are_for_eugen() -> None:
    assert Kind("low-rank", 32).options == {"layer": "low-rank", "rank": 32}
    assert Kind("eugen", 32, 2).options == {"layer": "eugen", "num_features": 32, "order": 2}
    assert Kind("dense").options == {"layer": "dense"}
    assert Kind("prp-hadamard").options == {"layer": "prp", "matrix": "hadamard"}
    assert [kind.name for kind in kinds(("dense", "prp", "eugen"), (8,), 2)] == ["dense", "eugen.m8"]
    assert [kind.name for kind in kinds(("dense", "prp-hadamard"), (8, 16), 1)] == ["dense", "prp-hadamard"]


@pytest.mark.parametrize("network", ["trunk", "field"])
@pytest.mark.parametrize("kind", [Kind("dense"), Kind("eugen", 4), Kind("prp")])
def test_every_way_gives_the_same_values(network: str, kind: Kind) -> None:
    module = build(network, 16, kind, 0)
    inputs = make_inputs(network, 50, "cpu", torch.float32, 0)
    calls = inference_calls(module, inputs, torch.float32, ("eager", "tiled", "fused", "tiny-cuda-nn"), (16, 64))
    assert set(calls) == {"eager", "tiled 16", "tiled 64"}
    with torch.no_grad():
        expected = module(*inputs)
    for call in calls.values():
        for value, wanted in zip(as_tuple(call()), as_tuple(expected), strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-4)


def as_tuple(outputs) -> tuple:
    return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)


def test_half_precision_runs_whole_fields() -> None:
    module = build("field", 16, Kind("eugen", 4), 0)
    inputs = make_inputs("field", 20, "cpu", torch.bfloat16, 0)
    calls = inference_calls(module, inputs, torch.bfloat16, ("eager", "tiled"), (16,))
    assert set(calls) == {"eager"}
    density, color = calls["eager"]()
    assert density.shape == (20,) and color.shape == (20, 3) and bool(color.isfinite().all())


def test_a_training_step_reaches_every_parameter() -> None:
    module = build("field", 16, Kind("prp"), 0)
    inputs = make_inputs("field", 20, "cpu", torch.float32, 0)
    training_calls(module, inputs, torch.float32, ("eager",))["eager"]()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_fused_ways_are_timed_where_kernels_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "DEVICES", ("cpu",))
    backends = ("eager", "fused")
    field, trunk = (build(network, 32, Kind("eugen", 16), 0) for network in ("field", "trunk"))
    inputs = make_inputs("trunk", 5, "cpu", torch.float16, 0)
    assert set(inference_calls(trunk, inputs, torch.float16, backends, ())) == {"eager"}
    inputs = make_inputs("field", 5, "cpu", torch.float16, 0)
    assert set(inference_calls(field, inputs, torch.float32, backends, ())) == {"eager"}
    calls = inference_calls(copy.deepcopy(field), inputs, torch.float16, backends, ())
    compile_kernels(calls)
    with torch.no_grad():
        for value, wanted in zip(calls["fused"](), field(*inputs), strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-2, atol=1e-2)


def test_a_fused_training_step_has_the_gradients_of_an_eager_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "DEVICES", ("cpu",))
    made: list[FusedMLP] = []

    class Noted(FusedMLP):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(layer_networks, "FusedMLP", Noted)
    trunk = build("trunk", 16, Kind("eugen", 16), 0)
    inputs = make_inputs("trunk", 5, "cpu", torch.bfloat16, 0)
    calls = training_calls(trunk, inputs, torch.bfloat16, ("eager", "fused"))
    assert list(calls) == ["eager", "fused"]
    for call in calls.values():
        call()
    for (name, mine), eager in zip(made[0].mlp.named_parameters(), trunk.parameters(), strict=True):
        assert mine.grad is not None and eager.grad is not None, name
        assert (mine.grad - eager.grad).norm() <= 0.1 * eager.grad.norm(), name


def test_sizes_are_counted() -> None:
    dense, prp = sizes(build("trunk", 16, Kind("dense"), 0)), sizes(build("trunk", 16, Kind("prp"), 0))
    matrices = 63 * 16 + 7 * 16 * 16 + 63 * 16
    assert dense == {
        "multiplications": matrices,
        "weight_bytes": 4 * (matrices + 8 * 16),
        "stored_bytes": 4 * (matrices + 8 * 16),
    }
    assert prp["multiplications"] == matrices and prp["weight_bytes"] == dense["weight_bytes"]
    # the first layer is dense; alpha, scale, bias and an int64 seed for each of the others, one of which reads 79
    assert prp["stored_bytes"] == 4 * (63 * 16 + 16) + 6 * (4 * 3 * 16 + 8) + 4 * (63 + 3 * 16) + 8


@pytest.mark.parametrize(
    "options, says",
    [
        ({"layer": ("eugen",)}, "dense must be among"),
        ({"width": (0,)}, "--width 0"),
        ({"train_batch": ()}, "--train-batch"),
        ({"tile": (-1,)}, "--tile -1"),
        ({"rounds": 0}, "--rounds 0"),
        ({"order": (5,)}, "--order 5"),
        ({"device": "tpu"}, "--device tpu"),
        ({"backend": ("tiny-cuda-nn",)}, "none of them runs on cpu"),
    ],
)
def test_wrong_flags_are_named(options: dict, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        Layers(json=tmp_path / "layers.json", **(TINY | {"order": (1,)} | options)).main()
    assert not (tmp_path / "layers.json").exists()
