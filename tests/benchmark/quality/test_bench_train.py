"""eugen-bench train: what it measures, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.helpers import here

from eugen_fields.benchmark.common.contestants import parse_options
from eugen_fields.benchmark.quality.comparison import Train
from eugen_fields.benchmark.quality.comparison_report import markdown_table
from eugen_fields.benchmark.quality.train import make_config
from eugen_fields.errors import InputError


def test_unknown_method_and_option_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no method 'nerfacto'"):
        make_config("nerfacto", tmp_path, tmp_path)
    with pytest.raises(InputError, match="no model option 'depth_of_water'"):
        make_config("eugen-nerf-tiny", tmp_path, tmp_path, model_options={"depth_of_water": 3})


def test_configurations_do_not_share_state(tmp_path: Path) -> None:
    first = make_config("eugen-nerf-tiny", tmp_path / "scene", tmp_path, layer="prp", seed=1)
    second = make_config("eugen-nerf-tiny", tmp_path / "scene", tmp_path)
    assert first.pipeline.model.layer == "prp" and second.pipeline.model.layer == "eugen-residual"
    first.optimizers["fields"]["optimizer"].lr = 7.0
    assert second.optimizers["fields"]["optimizer"].lr == 0.0


def test_results_are_complete_and_not_measured_twice(sphere_scene: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    bench = Train(
        scene=sphere_scene,
        layers=("eugen", "prp"),
        steps=12,
        output=tmp_path / "runs",
        json=results,
        options=("grid_resolution=16", "samples_per_diagonal=64"),
        checkpoints=2,
        curve_views=1,
    )
    bench.main()
    runs = json.loads(results.read_text())["runs"]
    assert [run["layer"] for run in runs] == ["eugen", "prp"]
    for run in runs:
        assert run["trained_steps"] == 12 and run["parameters"] > 1000 and run["learning_rate"] > 0
        assert 0 < run["psnr"] < 100 and run["collapsed"] == (not run["psnr"] > run["empty_psnr"] + 3)
    eugen, prp = runs
    # three hidden PRP layers of width 128: alpha, scale, bias (float32) and an int64 seed each
    assert prp["layer_bytes"] == 3 * (3 * 128 * 4 + 8) < eugen["layer_bytes"]
    before = results.read_text()
    bench.main()
    assert results.read_text() == before
    table = markdown_table(runs)
    assert table.count("\n") == 3 and "| prp |" in table


def test_options_reach_the_model_and_scales_are_scored_apart(sphere_scene: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    bench = Train(
        scene=sphere_scene,
        method="eugen-mipnerf-tiny",
        layers=("dense",),
        steps=4,
        num_scales=2,
        json=results,
        options=("num_layers=3", "layer_width=16", "proposal_samples=8,"),
        output=tmp_path / "runs",
    )
    bench.main()
    (run,) = json.loads(results.read_text())["runs"]
    # trunk: encoding 63 -> 16 -> 16 -> 16 -> 33; colour head: 32 features and 27 of the direction -> 64 -> 3
    assert run["multiplications"] == 63 * 16 + 2 * 16 * 16 + 16 * 33 + (32 + 27) * 64 + 64 * 3
    assert len(run["psnr_by_scale"]) == len(run["ssim_by_scale"]) == 2
    assert run["psnr"] == pytest.approx(sum(run["psnr_by_scale"]) / 2)
    assert ", ".join(f"{value:.2f}" for value in run["psnr_by_scale"]) in markdown_table([run])


@pytest.mark.parametrize("option", ["num_layers", "=8", "num layers=8"])
def test_malformed_options_are_refused(option: str) -> None:
    with pytest.raises(InputError, match="give name=value"):
        parse_options((option,))


def test_options_are_numbers_tuples_and_words() -> None:
    parsed = parse_options(("num_layers=8", "replace=5,6,7", "near_plane=0.1", "norm=False", "basis=diagonal"))
    expected = {"num_layers": 8, "replace": (5, 6, 7), "near_plane": 0.1, "norm": False, "basis": "diagonal"}
    assert parsed == expected


def test_a_foreign_results_file_is_refused(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    results.write_text("[1, 2]")
    result = here("eugen-bench", "train", "--json", results)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert result.stderr.startswith("error: --json") and str(results) in result.stderr
    assert results.read_text() == "[1, 2]"
