"""eugen-bench transfer: what it measures, writes and draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.helpers import TRAIN_FLAGS, command

from eugen_fields.benchmark.quality.transfer import Transfer
from eugen_fields.benchmark.quality.transfer_report import VARIANTS
from eugen_fields.errors import InputError


def test_rows_are_complete_and_not_measured_twice(sphere_scene: Path, tmp_path: Path) -> None:
    result = command(
        "ns-train",
        "eugen-nerf-tiny",
        "--data",
        sphere_scene,
        "--output-dir",
        tmp_path,
        "--timestamp",
        "run",
        "--max-num-iterations",
        30,
        "--pipeline.model.layer",
        "dense",
        "--pipeline.model.grid-resolution",
        16,
        "--pipeline.model.samples-per-diagonal",
        64,
        *TRAIN_FLAGS,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    results = tmp_path / "results.json"
    bench = Transfer(
        run=tmp_path / "sphere" / "eugen-nerf-tiny" / "run",
        shares=(4,),
        best=(0,),
        finetune_steps=2,
        views=1,
        json=results,
    )
    bench.main()
    teacher, *students = json.loads(results.read_text())["runs"]
    assert teacher["variant"] == "teacher" and teacher["features"] == 128 and teacher["psnr"] > 5
    assert [row["variant"] for row in students] == list(VARIANTS)
    for row in students:
        assert row["features"] == 32 and row["replace"] == [1, 2, 3] and 0 < row["psnr"] < 60
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
