"""Scenes and runs that the tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers import TRAIN_FLAGS, command, write_capture_scene, write_sphere_scene

os.environ.setdefault("CUDA_VISIBLE_DEVICES", os.environ.get("EUGEN_TEST_DEVICES", ""))


@pytest.fixture(scope="session")
def sphere_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sphere_scene(tmp_path_factory.mktemp("scenes") / "sphere")


@pytest.fixture
def broken_scene(tmp_path: Path) -> Path:
    """A scene of its own for a test to damage."""
    return write_sphere_scene(tmp_path / "sphere", train=3, test=1)


@pytest.fixture(scope="session")
def capture_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_capture_scene(tmp_path_factory.mktemp("captures") / "ball")


@pytest.fixture(scope="session")
def trained_run(sphere_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a short eugen-nerf-tiny run on the sphere, made by ns-train."""
    output = tmp_path_factory.mktemp("runs")
    result = command(
        "ns-train", "eugen-nerf-tiny", "--data", sphere_scene, "--output-dir", output, "--timestamp", "run",
        "--max-num-iterations", 400, "--pipeline.model.grid-warmup-steps", 60,
        "--pipeline.model.grid-resolution", 32, "--pipeline.target-num-samples", 4096,
        "--optimizers.fields.scheduler.warmup-steps", 20, *TRAIN_FLAGS,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return output / "sphere" / "eugen-nerf-tiny" / "run"
