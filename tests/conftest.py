"""Scenes and runs that the tests share. What makes them is imported when it is needed: the process that only hands out
tests starts faster."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.distribution import room, scheduler, slow_first

os.environ.setdefault("CUDA_VISIBLE_DEVICES", os.environ.get("EUGEN_TEST_DEVICES", ""))

FAST = ("layers", "encodings", "sampling", "fields")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if room(item) in FAST and not item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.fast)
    slow_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    return scheduler(config, log)


@pytest.fixture(scope="session")
def sphere_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.helpers import write_sphere_scene

    return write_sphere_scene(tmp_path_factory.mktemp("scenes") / "sphere")


@pytest.fixture
def broken_scene(tmp_path: Path) -> Path:
    """A scene of its own for a test to damage."""
    from support.helpers import write_sphere_scene

    return write_sphere_scene(tmp_path / "sphere", train=3, test=1)


@pytest.fixture(scope="session")
def capture_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.helpers import write_capture_scene

    return write_capture_scene(tmp_path_factory.mktemp("captures") / "ball")


@pytest.fixture(scope="session")
def trained_run(sphere_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a short eugen-nerf-tiny run on the sphere, made by ns-train."""
    from nerfstudio.scripts import train
    from support.helpers import typed

    config = typed(
        "eugen-nerf-tiny", sphere_scene, tmp_path_factory.mktemp("runs"), "--max-num-iterations", 240,
        "--pipeline.model.grid-warmup-steps", 60, "--pipeline.model.grid-resolution", 32,
        "--pipeline.target-num-samples", 4096, "--optimizers.fields.scheduler.warmup-steps", 20,
    )  # fmt: skip
    train.main(config)
    return config.get_base_dir()


def _small_mip_run(scene: Path, output: Path, learning_rate: float | None = None, seed: int = 42, **options):
    """The trainer of a short eugen-mipnerf-tiny run of a smaller network."""
    from eugen_fields.benchmark.quality.train import make_config, train_run

    small = {
        "proposal_samples": (24,),
        "num_samples": 16,
        "layer_width": 64,
        "num_features": 16,
        "num_layers": 3,
        "feature_dim": 16,
        "color_width": 32,
        "position_frequencies": 6,
        "anneal_steps": 50,
        "grid_resolution": 24,
        "grid_warmup_steps": 60,
    }
    config = make_config("eugen-mipnerf-tiny", scene, output, steps=300, seed=seed, model_options=small | options)
    config.pipeline.target_num_samples = 4096
    config.optimizers["fields"]["scheduler"].warmup_steps = 20  # type: ignore[attr-defined]
    if learning_rate is not None:
        config.optimizers["fields"]["optimizer"].lr = learning_rate
    trainer, _ = train_run(config, progress=False)
    return trainer


@pytest.fixture(scope="session")
def bounded_mip_run(sphere_scene: Path, tmp_path_factory: pytest.TempPathFactory):
    """The trainer, at its end, of a short Mip-NeRF-style run on the sphere; its folder is config.get_base_dir()."""
    return _small_mip_run(sphere_scene, tmp_path_factory.mktemp("mip"))


@pytest.fixture(scope="session")
def unbounded_mip_run(capture_scene: Path, tmp_path_factory: pytest.TempPathFactory):
    """The same on photos of the sphere, with appearance codes and corrected cameras."""
    from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig

    return _small_mip_run(
        capture_scene,
        tmp_path_factory.mktemp("mip_capture"),
        seed=1,  # of a dozen photos of 24x24 some seeds learn little
        background="white",
        appearance_dim=4,
        camera_optimizer=CameraOptimizerConfig(mode="SO3xR3"),
    )


def _small_planes_run(scene: Path, output: Path, steps: int, **options):
    """The trainer of a short eugen-planes-tiny run with smaller planes and a dense head."""
    from eugen_fields.benchmark.quality.train import make_config, train_run

    small = {
        "plane_resolutions": (16, 48),
        "proposal_resolutions": (24,),
        "proposal_samples": (24,),
        "anneal_steps": 40,
    }
    small |= {"grid_resolution": 24, "grid_warmup_steps": 60}
    config = make_config("eugen-planes-tiny", scene, output, layer="dense", steps=steps, model_options=small | options)
    config.pipeline.target_num_samples = 4096
    trainer, _ = train_run(config, progress=False)
    return trainer


@pytest.fixture(scope="session")
def bounded_planes_run(sphere_scene: Path, tmp_path_factory: pytest.TempPathFactory):
    """The trainer, at its end, of a short run with feature planes on the sphere."""
    return _small_planes_run(sphere_scene, tmp_path_factory.mktemp("planes"), 150)


@pytest.fixture(scope="session")
def unbounded_planes_run(capture_scene: Path, tmp_path_factory: pytest.TempPathFactory):
    """The same on photos of the sphere, with appearance codes and corrected cameras."""
    from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig

    return _small_planes_run(
        capture_scene,
        tmp_path_factory.mktemp("planes_capture"),
        300,
        background="white",
        appearance_dim=4,
        camera_optimizer=CameraOptimizerConfig(mode="SO3xR3"),
    )
