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
from support.corner_photos import corner_poses, write_corner_photos
from support.depth_recordings import write_transforms
from support.distance_truths import write_truth
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


@pytest.fixture
def small_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method of captures with smaller planes."""
    model = METHODS["eugen-planes-tiny"].pipeline.model
    small = {"plane_resolutions": (8, 24), "proposal_resolutions": (16,), "proposal_samples": (16,)}
    for name, value in small.items():
        monkeypatch.setattr(model, name, value)


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


@pytest.mark.e2e
def test_a_capture_is_trained_by_planes(
    capture_scene: Path, tmp_path: Path, small_planes: None, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = runpy.run_path(str(DEMO))["Demo"]
    demo(scene=capture_scene, output=tmp_path, steps=60, viewer=False, mesh_resolution=24).main()
    out = capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert f"{capture_scene} has a transforms.json without depth images" in out
    assert metrics["method"] == "eugen-planes-tiny" and metrics["psnr"] > 5.0
    assert (metrics["mesh"] is None) == ("mesh     none:" in out), "after so few steps there may be nothing opaque"
    assert Path(metrics["picture"]).is_file() and metrics["mesh_silhouette_iou"] is None
    assert "field    none:" in out, "what has no bounds is in no field file"


@pytest.mark.e2e
def test_photos_get_poses_first(tmp_path: Path, small_planes: None, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_corner_photos(tmp_path / "phone", corner_poses(6), 200, 150)
    demo = runpy.run_path(str(DEMO))["Demo"]
    for steps in (20, 2):
        demo(scene=photos, output=tmp_path / "out", steps=steps, viewer=False, mesh_resolution=24).main()
    out = capsys.readouterr().out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert "has 6 images and no poses" in out and "6 of 6 got a pose" in out
    assert metrics["method"] == "eugen-planes-tiny" and metrics["psnr"] > 5.0
    assert (tmp_path / "out" / "captures" / "phone" / "transforms.json").is_file()
    assert metrics["steps"] == 2, "run again, it makes a second run"


@pytest.mark.e2e
@pytest.mark.parametrize("truth", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_depth_stream_becomes_a_map(
    truth: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = METHODS["eugen-isdf-tiny"].pipeline
    monkeypatch.setattr(pipeline.datamanager, "first_frame_steps", 10)
    for name, value in {"layer_width": 32, "num_layers": 4, "skip_connections": (2,), "replace": (1, 2)}.items():
        monkeypatch.setattr(pipeline.model, name, value)
    scene = write_transforms(tmp_path / "room", count=4)
    if truth:
        write_truth(scene, frames=4)
    demo = runpy.run_path(str(DEMO))["Demo"]
    demo(scene=scene, output=tmp_path / "out", steps=100, viewer=False, mesh_resolution=24).main()
    out = capsys.readouterr().out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["method"] == "eugen-isdf-tiny" and metrics["frames"] == 4 and metrics["steps"] == 100
    assert Path(metrics["mesh"]).is_file() and Path(metrics["field"]).is_file()
    assert ("visible_error_cm" in metrics) == truth == ("distances are wrong by" in out)
    assert not truth or Path(metrics["picture"]).is_file()


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
