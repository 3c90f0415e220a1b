"""The main job from its script: everything it promises is there."""

from __future__ import annotations

import json
import runpy
import sys
import warnings
from pathlib import Path

import pytest
import trimesh
from PIL import Image
from support.helpers import PROJECT

from eugen_fields.errors import InputError
from eugen_fields.methods import METHODS

DEMO = PROJECT / "scripts" / "demo.py"
KEYS = {"scene", "method", "layer", "device", "steps", "train_seconds", "psnr", "ssim", "parameters", "mesh", "picture"}


@pytest.fixture
def small_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's method with fewer samples and a coarser grid."""
    pipeline = METHODS["eugen-nerf-tiny"].pipeline
    for config, name, value in (
        (pipeline, "target_num_samples", 2048),
        (pipeline.model, "grid_resolution", 32),
        (pipeline.model, "grid_warmup_steps", 60),
        (METHODS["eugen-nerf-tiny"].optimizers["fields"]["scheduler"], "warmup_steps", 20),
    ):
        monkeypatch.setattr(config, name, value)


def test_it_leaves_metrics_picture_mesh_and_a_run(
    sphere_scene: Path, tmp_path: Path, small_method: None, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = runpy.run_path(str(DEMO))["Demo"]
    demo(scene=sphere_scene, output=tmp_path, steps=150, layer="prp", viewer=False, mesh_resolution=48).main()
    out, err = capsys.readouterr()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics) >= KEYS
    assert metrics["layer"] == "prp" and metrics["steps"] == 150 and metrics["train_seconds"] > 0
    assert "PSNR" in err and "dB" in err, "the progress line shows the PSNR"
    with Image.open(metrics["picture"]) as picture:
        assert picture.size[0] == 4 * 24
    mesh = trimesh.load(metrics["mesh"])
    assert len(mesh.faces) > 50
    for place in (*(metrics[name] for name in ("mesh", "picture", "run", "field", "page")), tmp_path / "metrics.json"):
        assert str(place) in out
    assert metrics["field_psnr"] == pytest.approx(metrics["psnr"], abs=0.5)
    for name in ("field", "page"):
        size = Path(metrics[name]).stat().st_size
        assert size == metrics[f"{name}_bytes"] and f"{size:,} bytes" in out
    assert (Path(metrics["run"]) / "config.yml").exists()


def test_bad_flags_end_in_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--scene", tmp_path / "nowhere", "--output", tmp_path / "out", "--no-viewer")
    monkeypatch.setattr(sys, "argv", ["demo.py", *map(str, flags)])
    with pytest.raises(SystemExit, match="error: .*nowhere does not exist"), warnings.catch_warnings():
        runpy.run_path(str(DEMO), run_name="__main__")
    assert not (tmp_path / "out").exists()


def test_a_mesh_that_cannot_be_is_refused_before_the_training(sphere_scene: Path, tmp_path: Path) -> None:
    demo = runpy.run_path(str(DEMO))["Demo"](scene=sphere_scene, output=tmp_path / "out", mesh_resolution=1)
    with pytest.raises(InputError, match="resolution is 1; it must be at least 2"):
        demo.main()
    assert not (tmp_path / "out").exists()
