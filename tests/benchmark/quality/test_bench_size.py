"""eugen-bench size: what it trains, writes, measures and answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eugen_fields.benchmark.quality.size import Size
from eugen_fields.benchmark.quality.size_report import markdown_table, smallest_within
from eugen_fields.errors import InputError

SMALL = ("num_layers=3", "layer_width=16", "num_features=4", "grid_resolution=16", "samples_per_diagonal=64")


def test_rows_are_complete_and_not_measured_twice(sphere_scene: Path, tmp_path: Path, capsys) -> None:
    bench = Size(
        scene=sphere_scene,
        layers=("dense", "prp:rank=1"),
        options=SMALL,
        steps=8,
        views=1,
        output=tmp_path / "runs",
        json=tmp_path / "size.json",
    )
    bench.main()
    text = bench.json.read_text()
    document = json.loads(text)
    rows = document["runs"]
    formats = ("float32", "float16", "int8")
    names = [(layer, number_format) for layer in ("dense", "prp:rank=1") for number_format in formats]
    assert [(row["layer"], row["format"]) for row in rows] == names
    for row in rows:
        assert row["bytes"] == Path(row["file"]).stat().st_size and 0 < row["psnr"] < 60
    for wide, half, byte in (rows[:3], rows[3:]):
        assert wide["bytes"] > half["bytes"] > byte["bytes"]
        assert half["psnr"] == pytest.approx(wide["psnr"], abs=0.2)
    assert all(thin["bytes"] < dense["bytes"] for dense, thin in zip(rows[:3], rows[3:]))
    assert set(document["smallest"]) == {"within 0.3 dB", "within 1 dB"}
    assert "Smallest file within 0.3 dB of dense in float32" in capsys.readouterr().out
    assert bench.json.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    training = json.loads((tmp_path / "size_training.json").read_text())["runs"]
    assert [run["layer"] for run in training] == ["dense", "prp:rank=1"]
    bench.main()
    assert bench.json.read_text() == text


def row(layer: str, number_format: str, size: int, psnr: float) -> dict:
    facts = {"ssim": 0.9, "form": "trained", "numbers": size // 4}
    return {"layer": layer, "format": number_format, "bytes": size, "psnr": psnr} | facts


def test_the_answer_is_the_smallest_file_that_is_good_enough() -> None:
    rows = [
        row("dense", "int8", 1000, 29.9),
        row("dense", "float32", 4000, 30.0),
        row("prp", "float32", 400, 29.71),
        row("prp", "float16", 200, 29.69),
        row("prp", "int8", 100, 28.99),
    ]
    assert smallest_within(rows, 0.3) is rows[2] and smallest_within(rows, 1.0) is rows[3]
    assert smallest_within(rows, 2.0) is rows[4]
    table = markdown_table(rows)
    assert "within 0.3 dB of dense in float32 (30.00 dB, 4,000 bytes): prp in float32, 400 bytes, 29.71 dB" in table


@pytest.mark.parametrize("options", [{"layers": ("prp",)}, {"layers": ()}, {"formats": ()}])
def test_wrong_flags_are_named(options: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--layers must begin with dense"):
        Size(json=tmp_path / "size.json", **options).main()
