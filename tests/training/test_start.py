"""How a training begins: within the visual hull of the images where they have alpha, else with the whole scene box."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.helpers import write_capture_scene

from eugen_fields.benchmark.quality.train import make_config
from eugen_fields.training.pipeline import carve_grid

SMALL = {"grid_resolution": 24, "layer_width": 16, "num_layers": 2, "num_features": 4, "feature_dim": 8}


def started(scene: Path, output: Path, **options):
    """The trainer of a run before its first step."""
    config = make_config("eugen-nerf-tiny", scene, output, steps=4, model_options=SMALL | options)
    config.save_config()
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup(test_mode="test")
    return trainer


def test_the_grid_begins_with_the_visual_hull(
    sphere_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The sphere of helpers.sphere_image has radius 0.8 about the origin."""
    grid = started(sphere_scene, tmp_path).pipeline.model.grid
    centers = grid.cell_centers()
    assert bool(grid.occupied[centers.norm(dim=1) < 0.78].all())
    assert float(grid.occupied.float().mean()) < 0.25
    assert "silhouettes of the training images leave" in " ".join(capsys.readouterr().out.split())


def test_it_can_be_switched_off(sphere_scene: Path, tmp_path: Path) -> None:
    assert bool(started(sphere_scene, tmp_path, visual_hull=False).pipeline.model.grid.allowed.all())


def test_distorted_cameras_and_opaque_images_carve_nothing(sphere_scene: Path, tmp_path: Path) -> None:
    trainer = started(sphere_scene, tmp_path, visual_hull=False)
    manager, grid = trainer.pipeline.datamanager, trainer.pipeline.model.grid
    batch, cameras = manager.train_images(), manager.train_dataset.cameras
    share = carve_grid(grid, batch | {"image": batch["image"][:, :3]}, cameras)
    assert share is None and bool(grid.allowed.all())
    cameras.distortion_params = torch.full((len(cameras), 6), 0.1)
    assert carve_grid(grid, batch, cameras) is None and bool(grid.allowed.all())
    cameras.distortion_params = None
    transparent = batch["image"].clone()
    transparent[:, 3] = 0
    assert carve_grid(grid, batch | {"image": transparent}, cameras) is None and bool(grid.allowed.all())
    assert 0 < carve_grid(grid, batch, cameras) < 1  # type: ignore[operator]


def test_captures_without_bounds_have_no_grid_to_carve(tmp_path: Path) -> None:
    scene = write_capture_scene(tmp_path / "capture")
    small = {"proposal_samples": (8,), "num_samples": 4, "background": "white"}
    config = make_config("eugen-mipnerf-tiny", scene, tmp_path / "out", steps=2, model_options=small)
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup(test_mode="test")
    assert trainer.pipeline.model.grid is None
