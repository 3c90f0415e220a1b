"""eugen-bench transfer: what it measures, writes and draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eugen_fields.benchmark.quality.train import make_config, train_run
from eugen_fields.benchmark.quality.transfer import Transfer, layers_table, rivals_table
from eugen_fields.errors import InputError
from eugen_fields.runs import open_run


@pytest.fixture(scope="module")
def dense_run(sphere_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = {"layer_width": 32, "grid_resolution": 16, "samples_per_diagonal": 64}
    output = tmp_path_factory.mktemp("runs")
    config = make_config("eugen-nerf-tiny", sphere_scene, output, layer="dense", steps=30, model_options=small)
    train_run(config, progress=False)
    return config.get_base_dir()


@pytest.mark.e2e
def test_layers_have_complete_rows_that_are_not_measured_twice(dense_run: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    bench = Transfer(
        run=dense_run, compare="layers", shares=(4,), best=(0,), finetune_steps=2, views=1, seed=(0,), json=results
    )
    bench.main()
    teacher, *students = json.loads(results.read_text())["runs"]
    assert teacher["variant"] == "teacher" and teacher["features"] == 32 and teacher["psnr"] > 5
    assert [row["variant"] for row in students] == list(layers_table.VARIANTS)
    for row in students:
        assert row["features"] == 8 and row["replace"] == [1, 2, 3] and 0 < row["psnr"] < 60
        assert row["trunk_parameters"] < teacher["trunk_parameters"]
        assert row["trunk_multiplications"] < teacher["trunk_multiplications"]
        assert (row["finetune_seconds"] > 0) == ("fine-tuning" in row["variant"])
    assert results.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    before = results.read_text()
    bench.main()
    assert results.read_text() == before


@pytest.mark.e2e
def test_rivals_have_one_size_and_what_was_broken_off_goes_on(
    dense_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    results, budget = tmp_path / "results.json", 8000
    bench = Transfer(
        run=dense_run, multiplications=(budget,), finetune_steps=3, views=1, seed=(0,), output=tmp_path, json=results
    )
    bench.main()
    document = json.loads(results.read_text())
    teacher, *others = document["runs"]
    assert [row["variant"] for row in others] == list(rivals_table.VARIANTS)
    rows = {row["variant"]: row for row in others}
    assert all(0.9 * budget < row["multiplications"] <= budget < teacher["multiplications"] for row in others)
    steps = {variant: row["steps"] for variant, row in rows.items()}
    assert teacher["steps"] == steps[rivals_table.CLOSED_FORM] == 30
    assert steps[rivals_table.FINE_TUNED] == steps[rivals_table.TRAINED] == 33 and steps[rivals_table.DISTILLED] == 3
    assert steps[rivals_table.DISTILLED_AS_LONG] > 3 and steps[rivals_table.TRAINED_AS_LONG] >= 1
    trained = open_run(tmp_path / rows[rivals_table.TRAINED]["trained_run"])
    assert trained.model_config.layer == "dense" and trained.step == 32
    assert trained.model_config.layer_width == rows[rivals_table.DISTILLED]["width"] < 32
    assert results.with_suffix(".png").read_bytes().startswith(b"\x89PNG")

    document["runs"] = [row for row in document["runs"] if row["variant"] != rivals_table.FINE_TUNED]
    results.write_text(json.dumps(document))
    capsys.readouterr()
    bench.main()
    out = capsys.readouterr().out
    assert (
        f"{rivals_table.FINE_TUNED}, 8,000 multiplications, seed 0" in out and out.count("multiplications, seed") == 1
    )
    assert all(f"| {variant}" in out for variant in (rivals_table.TEACHER, *rivals_table.VARIANTS))


@pytest.mark.e2e
def test_a_budget_below_every_dense_network_is_refused_before_anything_is_measured(
    dense_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="the narrowest dense network has"):
        Transfer(run=dense_run, multiplications=(10,), views=1, json=tmp_path / "results.json").main()
    assert not (tmp_path / "results.json").exists()


def test_nonsense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--shares 0: it must be at least 1"):
        Transfer(run=tmp_path, shares=(0,)).main()
    with pytest.raises(InputError, match="--multiplications 0: it must be at least 1"):
        Transfer(run=tmp_path, multiplications=(0,)).main()
