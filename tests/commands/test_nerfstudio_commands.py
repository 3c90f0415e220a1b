"""The whole nerfstudio family on our runs, each command as a user types it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from nerfstudio.scripts import train
from PIL import Image
from support.helpers import here, typed

from eugen_fields.runs.checkpoints import list_checkpoints


def output_of(result) -> str:
    text = result.stdout + result.stderr
    assert result.returncode == 0, text[-4000:]
    return text


@pytest.mark.parametrize(
    ("method", "layer"),
    [
        ("eugen-nerf", None),
        ("eugen-nerf", "dense"),
        ("prp-nerf", None),
        ("eugen-nerf-tiny", "eugen-residual"),
        ("eugen-nerf-tiny", "low-rank"),
        ("eugen-nerf-tiny", "snnk"),
    ],
)
def test_every_method_trains_two_steps(method: str, layer: str | None, sphere_scene: Path, tmp_path: Path) -> None:
    flags = () if layer is None else ("--pipeline.model.layer", layer)
    small = ("--pipeline.target-num-samples", 4096, "--pipeline.model.grid-resolution", 16)
    train.main(typed(method, sphere_scene, tmp_path, "--max-num-iterations", 2, *small, *flags))
    assert [step for step, _ in list_checkpoints(tmp_path / "sphere" / method / "run" / "nerfstudio_models")] == [1]


def test_captures_train_through_nerfstudios_parser(capture_scene: Path, tmp_path: Path) -> None:
    flags = ("--max-num-iterations", 2, "--pipeline.model.background", "white")
    train.main(typed("eugen-nerf-tiny", capture_scene, tmp_path, *flags, "nerfstudio-data", "--eval-mode", "fraction"))
    assert list_checkpoints(tmp_path / "ball" / "eugen-nerf-tiny" / "run" / "nerfstudio_models")


def test_training_improves_and_its_checkpoint_loads_as_plain_tensors(trained_run: Path) -> None:
    checkpoints = list_checkpoints(trained_run / "nerfstudio_models")
    assert [step for step, _ in checkpoints][-1:] == [239]
    state = torch.load(checkpoints[-1][1], weights_only=True)
    assert state["step"] == 239
    config = (trained_run / "config.yml").read_text()
    assert re.search(r"lr: 0\.0\d*[1-9]", config), "the learning rate in force must be on record"


def test_eval_scores_the_test_views(trained_run: Path, tmp_path: Path) -> None:
    output_of(here("ns-eval", "--load-config", trained_run / "config.yml", "--output-path", tmp_path / "e.json"))
    results = json.loads((tmp_path / "e.json").read_text())["results"]
    assert results["psnr"] > 18.0, results
    assert 0.5 < results["ssim"] <= 1.0


def test_render_dataset_writes_images_like_the_truth(trained_run: Path, tmp_path: Path) -> None:
    output_of(
        here(
            "ns-render",
            "dataset",
            "--load-config",
            trained_run / "config.yml",
            "--output-path",
            tmp_path,
            "--rendered-output-names",
            "rgb",
            "depth",
            "accumulation",
            "--split",
            "test",
        )  # fmt: skip
    )
    renders = sorted((tmp_path / "test" / "rgb").iterdir())
    assert len(renders) == 2
    render = np.asarray(Image.open(renders[0]).convert("RGB")) / 255.0
    assert render.shape == (24, 24, 3)
    assert render[0, 0].min() > 0.9, "the corner is background"
    assert render[12, 12].min() < 0.6, "the middle is the sphere"


def test_export_cameras(trained_run: Path, tmp_path: Path) -> None:
    output_of(here("ns-export", "cameras", "--load-config", trained_run / "config.yml", "--output-dir", tmp_path))
    assert len(json.loads((tmp_path / "transforms_train.json").read_text())) == 12


def test_export_pointcloud_lies_on_the_sphere(trained_run: Path, tmp_path: Path) -> None:
    output_of(
        here(
            "ns-export",
            "pointcloud",
            "--load-config",
            trained_run / "config.yml",
            "--output-dir",
            tmp_path,
            "--num-points",
            2000,
            "--num-rays-per-batch",
            2048,
        )  # fmt: skip
    )
    points = trimesh.load(tmp_path / "point_cloud.ply").vertices
    assert len(points) >= 1500
    assert abs(np.median(np.linalg.norm(points, axis=1)) - 0.8) < 0.15


def test_export_poisson(trained_run: Path, tmp_path: Path) -> None:
    output_of(
        here(
            "ns-export",
            "poisson",
            "--load-config",
            trained_run / "config.yml",
            "--output-dir",
            tmp_path,
            "--num-points",
            2000,
            "--num-rays-per-batch",
            2048,
            "--texture-method",
            "point_cloud",
        )  # fmt: skip
    )
    mesh = trimesh.load(tmp_path / "poisson_mesh.ply")
    assert len(mesh.faces) > 100
    assert np.abs(mesh.extents - 1.6).max() < 0.6


def test_export_tsdf(trained_run: Path, tmp_path: Path) -> None:
    output_of(
        here(
            "ns-export",
            "tsdf",
            "--load-config",
            trained_run / "config.yml",
            "--output-dir",
            tmp_path,
            "--resolution",
            32,
            "--downscale-factor",
            1,
            "--texture-method",
            "tsdf",
        )  # fmt: skip
    )
    mesh = trimesh.load(tmp_path / "tsdf_mesh.ply")
    assert len(mesh.faces) > 100


def test_opening_a_run_whose_scene_is_gone_says_so(trained_run: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(trained_run, tmp_path / "run") / "config.yml"
    (moved.parent / "scene.json").unlink()  # it knows where the scene is
    text = (trained_run / "config.yml").read_text()
    folder = re.search(r"data: &id\d+ !!python/object/apply:pathlib.PosixPath\n((?:\s*- .*\n)+)", text)
    assert folder is not None
    moved.write_text(text.replace(folder[1], folder[1].rstrip("\n") + "-gone\n"))
    result = here("ns-eval", "--load-config", moved, "--output-path", tmp_path / "e.json")
    assert result.returncode == 1
    assert "error: the scene" in result.stderr and "does not exist" in result.stderr
    assert "Traceback" not in result.stderr + result.stdout
