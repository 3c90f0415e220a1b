"""The main job from its script: everything it promises is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import trimesh
from PIL import Image
from support.helpers import PROJECT

DEMO = PROJECT / "scripts" / "demo.py"
KEYS = {"scene", "method", "layer", "device", "steps", "train_seconds", "psnr", "ssim", "parameters", "mesh", "picture"}


def run_demo(*flags: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(DEMO), *map(str, flags)], capture_output=True, text=True, timeout=500)


def test_it_leaves_metrics_picture_mesh_and_a_run(sphere_scene: Path, tmp_path: Path) -> None:
    result = run_demo(
        "--scene",
        sphere_scene,
        "--output",
        tmp_path,
        "--steps",
        220,
        "--layer",
        "prp",
        "--no-viewer",
        "--mesh-resolution",
        48,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics) >= KEYS
    assert metrics["layer"] == "prp" and metrics["steps"] == 220 and metrics["train_seconds"] > 0
    assert "PSNR" in result.stderr and "dB" in result.stderr, "the progress line shows the PSNR"
    with Image.open(metrics["picture"]) as picture:
        assert picture.size[0] == 4 * 24
    mesh = trimesh.load(metrics["mesh"])
    assert len(mesh.faces) > 50
    for place in (metrics["mesh"], metrics["picture"], metrics["run"], tmp_path / "metrics.json"):
        assert str(place) in result.stdout
    assert (Path(metrics["run"]) / "config.yml").exists()


def test_bad_flags_end_in_one_message(tmp_path: Path) -> None:
    result = run_demo("--scene", tmp_path / "nowhere", "--output", tmp_path / "out", "--no-viewer")
    assert result.returncode != 0
    assert "nowhere does not exist" in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
