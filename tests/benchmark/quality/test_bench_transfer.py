"""eugen-bench transfer: what it measures, writes and draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eugen_fields.benchmark.quality.train import make_config, train_run
from eugen_fields.benchmark.quality.transfer import Transfer
from eugen_fields.benchmark.quality.transfer_report import VARIANTS
from eugen_fields.errors import InputError


@pytest.mark.e2e
def test_rows_are_complete_and_not_measured_twice(sphere_scene: Path, tmp_path: Path) -> None:
    small = {"layer_width": 32, "grid_resolution": 16, "samples_per_diagonal": 64}
    config = make_config("eugen-nerf-tiny", sphere_scene, tmp_path, layer="dense", steps=30, model_options=small)
    train_run(config, progress=False)
    results = tmp_path / "results.json"
    bench = Transfer(
        run=config.get_base_dir(),
        shares=(4,),
        best=(0,),
        finetune_steps=2,
        views=1,
        json=results,
    )
    bench.main()
    teacher, *students = json.loads(results.read_text())["runs"]
    assert teacher["variant"] == "teacher" and teacher["features"] == 32 and teacher["psnr"] > 5
    assert [row["variant"] for row in students] == list(VARIANTS)
    for row in students:
        assert row["features"] == 8 and row["replace"] == [1, 2, 3] and 0 < row["psnr"] < 60
        assert row["trunk_parameters"] < teacher["trunk_parameters"]
        assert row["trunk_multiplications"] < teacher["trunk_multiplications"]
        assert (row["finetune_seconds"] > 0) == ("fine-tuning" in row["variant"])
    assert results.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    before = results.read_text()
    bench.main()
    assert results.read_text() == before


def test_nonsense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--shares 0: it must be at least 1"):
        Transfer(run=tmp_path, shares=(0,)).main()
