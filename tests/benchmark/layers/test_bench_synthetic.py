"""eugen-bench synthetic: equal sizes, what it measures and writes, and that a run is not done twice."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
from PIL import Image
from support.helpers import here

from eugen_fields.benchmark.layers.stand_ins import copy_dense_layer, make_layer
from eugen_fields.benchmark.layers.synthetic import STARTS, Synthetic
from eugen_fields.benchmark.layers.synthetic_report import KINDS, markdown_table
from eugen_fields.errors import InputError


def tiny(tmp_path: Path, **options) -> Synthetic:
    settings = {"width": 16, "num_features": 6, "steps": 20, "seed": (0, 1), "learning_rates": (1e-3, 1e-2)}
    return Synthetic(**{"json": tmp_path / "results.json", **settings, **options})


@pytest.mark.parametrize(("width", "num_features"), [(512, 128), (64, 16), (20, 5)])
def test_all_kinds_have_as_many_parameters_as_whole_numbers_allow(width: int, num_features: int) -> None:
    sizes = {
        kind: sum(parameter.numel() for parameter in make_layer(kind, width, num_features, "relu", 0).parameters())
        for kind in KINDS
    }
    assert sizes["eugen"] == sizes["snnk"] == num_features * (2 * width + 1) + width
    assert abs(sizes["low-rank"] - sizes["eugen"]) <= width  # one rank more or less is 2 width
    assert sizes["low-rank + activation"] == sizes["low-rank"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fitted_layer_has_the_size_of_a_random_one_and_copies_better(kind: str) -> None:
    fitted = copy_dense_layer("gelu", "fitted", kind, 1e-6, 1, width=16, num_features=6, steps=1, device="cpu")
    drawn = copy_dense_layer("gelu", "random", kind, 1e-6, 1, width=16, num_features=6, steps=1, device="cpu")
    assert fitted["parameters"] == drawn["parameters"]
    assert fitted["untrained_spread_error"] < 0.9 < drawn["untrained_spread_error"]


def test_an_error_is_measured_against_the_outputs_and_against_their_spread() -> None:
    case = ("softplus", "random", "low-rank + activation", 1e-2, 3)
    run = copy_dense_layer(*case, width=16, num_features=6, steps=400, device="cpu")
    assert 0 < run["constant_error"] < 1 and run["seconds"] > 0
    assert math.isclose(run["relative_error"], run["spread_error"] * run["constant_error"], rel_tol=1e-9)
    assert run["spread_error"] < 1.0  # 400 steps beat the best constant
    again = copy_dense_layer(*case, width=16, num_features=6, steps=400, device="cpu")
    assert again["relative_error"] == run["relative_error"]


def test_results_are_complete_tuned_apart_and_not_measured_twice(tmp_path: Path, capsys) -> None:
    bench = tiny(tmp_path, activations=("relu", "gelu"))
    bench.main()
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert len(runs) == 2 * len(STARTS) * len(KINDS) * (2 + 2)
    for activation in bench.activations:
        for start, kind in itertools.product(STARTS, KINDS):
            case = (activation, start, kind)
            group = [run for run in runs if (run["activation"], run["start"], run["layer"]) == case]
            trials = [run for run in group if run["seed"] == -1]
            best = min(trials, key=lambda run: run["relative_error"])["learning_rate"]
            assert {run["learning_rate"] for run in trials} == {1e-3, 1e-2}
            assert [(run["seed"], run["learning_rate"]) for run in group if run["seed"] >= 0] == [(0, best), (1, best)]
    assert Image.open(tmp_path / "results.png").width > 500
    before = (tmp_path / "results.json").read_text()
    capsys.readouterr()
    bench.main()
    assert (tmp_path / "results.json").read_text() == before
    table = capsys.readouterr().out
    assert "| gelu | random | low-rank |" in table and "| relu | fitted | snnk |" in table
    assert markdown_table([run for run in runs if run["seed"] >= 0]).count("\n") == 1 + 2 * len(STARTS) * len(KINDS)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 0}, "--width 0"),
        ({"num_features": 0}, "--num-features 0"),
        ({"seed": ()}, "--seed: give at least one"),
        ({"seed": (-1,)}, "--seed -1"),
        ({"steps": 0}, "--steps"),
        ({"learning_rates": ()}, "--learning-rates"),
        ({"learning_rates": (0.0,)}, "--learning-rates"),
    ],
)
def test_wrong_options_are_named(options: dict, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        tiny(tmp_path, **options).main()


def test_the_command_runs(tmp_path: Path) -> None:
    result = here(
        "eugen-bench",
        "synthetic",
        "--activations",
        "relu",
        "--width",
        8,
        "--num-features",
        2,
        "--steps",
        3,
        "--seed",
        0,
        "--learning-rates",
        1e-3,
        "--starts",
        "random",
        "--json",
        tmp_path / "results.json",
    )
    assert result.returncode == 0, result.stderr
    assert "| relu | random | eugen | 0.001 |" in result.stdout and "Training layers" in result.stderr
    assert len(json.loads((tmp_path / "results.json").read_text())["runs"]) == len(KINDS)
