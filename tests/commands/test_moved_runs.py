"""Runs that were moved or copied, with or without their scenes, as nerfstudio's commands open them; paths to render."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from support.helpers import here, write_sphere_scene
from support.view_helpers import write_run

from eugen_fields.methods import METHODS
from eugen_fields.runs.scene import record_scene


def text_of(result) -> str:
    return " ".join((result.stdout + result.stderr).split())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a scene and a run on it that was started there, with relative paths."""
    folder = tmp_path / "here"
    write_sphere_scene(folder / "sphere", size=12, train=3, test=1)
    run = write_run(folder / "outputs" / "sphere" / "eugen-nerf-tiny" / "run", data=Path("sphere"))
    record_scene(run, METHODS["eugen-nerf-tiny"].pipeline.datamanager.dataparser, folder / "sphere")
    return folder


RUN = "outputs/sphere/eugen-nerf-tiny/run"


def score(run: Path, tmp_path: Path) -> dict:
    result = here("ns-eval", "--load-config", run / "config.yml", "--output-path", tmp_path / "scores.json")
    assert result.returncode == 0, text_of(result)[-3000:]
    return json.loads((tmp_path / "scores.json").read_text())


def test_a_project_that_moved_is_scored_alike_from_any_folder(project: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(project)
    before = score(Path(RUN), tmp_path)
    write_sphere_scene(tmp_path / "elsewhere" / "sphere", size=12, train=4, test=1)
    moved = project.rename(tmp_path / "there")
    monkeypatch.chdir(tmp_path / "elsewhere")
    after = score(moved / RUN, tmp_path)
    assert (
        after["results"]["psnr"] == before["results"]["psnr"] and after["results"]["ssim"] == before["results"]["ssim"]
    )
    assert Path(after["checkpoint"]).parent == moved / RUN / "nerfstudio_models"


def test_a_copy_opens_its_own_newest_checkpoint_that_can_be_read(project: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(project)
    copy = project / "kept"
    write_run(copy, data=Path("sphere"), steps=(50, 200), seed=3)
    shutil.copy(project / RUN / "scene.json", copy)
    config = yaml.load((copy / "config.yml").read_text(), yaml.Loader)
    config.load_step = 7  # of the training that it once went on from
    config.output_dir, config.timestamp = Path("outputs"), "run"
    (copy / "config.yml").write_text(yaml.dump(config))
    checkpoints = copy / "nerfstudio_models"
    (checkpoints / ".DS_Store").write_text("")
    assert Path(score(copy, tmp_path)["checkpoint"]) == checkpoints / "step-000000200.ckpt"
    (checkpoints / "step-000000200.ckpt").write_bytes(b"half")
    assert Path(score(copy, tmp_path)["checkpoint"]) == checkpoints / "step-000000050.ckpt"
    (checkpoints / "step-000000050.ckpt").unlink()
    result = here("ns-eval", "--load-config", copy / "config.yml", "--output-path", tmp_path / "e.json")
    assert result.returncode == 1 and "none of the 1 checkpoints" in text_of(result), text_of(result)


def test_a_scene_that_is_gone_gets_advice_that_works(project: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(project)
    (project / "sphere").rename(tmp_path / "kept")
    cameras = ("ns-export", "cameras", "--load-config", f"{RUN}/config.yml", "--output-dir", tmp_path / "cameras")
    result = here(*cameras)
    assert result.returncode == 1 and "Traceback" not in text_of(result)
    place = project / RUN / "sphere"
    assert f"error: the scene sphere of the run {project / RUN} does not exist" in text_of(result)
    assert f"Put the scene, or a link to it, at {place}." in text_of(result)
    place.symlink_to(tmp_path / "kept")
    assert here(*cameras).returncode == 0
    assert len(json.loads((tmp_path / "cameras" / "transforms_train.json").read_text())) == 3


def test_another_scene_in_its_place_is_not_read(project: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(project)
    shutil.rmtree(project / "sphere")
    write_sphere_scene(project / "sphere", size=12, train=4, test=1)
    result = here("ns-eval", "--load-config", f"{RUN}/config.yml", "--output-path", tmp_path / "e.json")
    assert result.returncode == 1 and "has 4 training images, not 3" in text_of(result), text_of(result)
    assert not (tmp_path / "e.json").exists()
    # ns-render's own flag names a scene on purpose
    flags = ("--data", project / "sphere", "--output-path", tmp_path / "renders", "--rendered-output-names", "rgb")
    result = here("ns-render", "dataset", "--load-config", f"{RUN}/config.yml", *flags)
    assert result.returncode == 0 and len(list((tmp_path / "renders").rglob("*.jpg"))) == 1


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg on this machine, which ns-render needs")
@pytest.mark.parametrize("kind", ["nerf", "mipnerf"])
def test_paths_are_rendered_on_every_kind_of_run(kind: str, tmp_path: Path) -> None:
    """Blender scenes have one evaluation image here, between which there is no path."""
    scene, run = tmp_path / "scene", tmp_path / "run"
    write_sphere_scene(scene, size=12, train=2, test=1)
    write_run(run, kind, data=scene)
    images = ("--output-format", "images", "--output-path", tmp_path / "path.mp4")
    result = here("ns-render", "spiral", "--load-config", run / "config.yml", "--seconds", 0.1, *images)
    assert result.returncode == 0 and len(list((tmp_path / "path").iterdir())) == 2, text_of(result)[-2000:]
    shutil.rmtree(tmp_path / "path")
    result = here("ns-render", "interpolate", "--load-config", run / "config.yml", "--interpolation-steps", 3, *images)
    assert result.returncode == 0 and len(list((tmp_path / "path").iterdir())) == 3, text_of(result)[-2000:]
    assert "the path goes along the training images" in text_of(result)
