"""Runs on captures of other data parsers than Blender's: trained, opened, evaluated, rendered and exported."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.scripts import train
from nerfstudio.scripts.eval import ComputePSNR
from nerfstudio.scripts.render import DatasetRender
from PIL import Image
from support.helpers import typed, write_colmap_scene

from eugen_fields.meshing.export_mesh import export_mesh
from eugen_fields.methods import METHODS, eugen_nerf_tiny
from eugen_fields.runs import open_run, read_config
from eugen_fields.runs.restore import restore_config
from eugen_fields.transfer.rays import training_rays


@pytest.fixture(scope="module")
def colmap_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a user types it."""
    folder = tmp_path_factory.mktemp("colmap")
    flags = ("--max-num-iterations", 2, "--pipeline.model.background", "white", "--pipeline.model.grid-resolution", 16)
    train.main(typed("eugen-nerf-tiny", write_colmap_scene(folder / "ball"), folder / "runs", *flags, "colmap"))
    return folder / "runs" / "ball" / "eugen-nerf-tiny" / "run"


@pytest.fixture(scope="module")
def capture_run(tmp_path_factory: pytest.TempPathFactory, capture_scene: Path) -> Path:
    """At two scales and with masks."""
    folder = tmp_path_factory.mktemp("capture")
    content = json.loads((capture_scene / "transforms.json").read_text())
    mask = np.full((24, 24), 255, dtype=np.uint8)
    mask[:3] = 0
    Image.fromarray(mask).save(folder / "mask.png")
    for frame in content["frames"]:
        frame["file_path"] = str(capture_scene / frame["file_path"])
        frame["mask_path"] = "mask.png"
    (folder / "transforms.json").write_text(json.dumps(content))
    config = copy.deepcopy(eugen_nerf_tiny.config)
    config.data, config.output_dir, config.vis, config.timestamp = folder, folder / "runs", "tensorboard", "run"
    config.max_num_iterations = 2
    config.pipeline.model.background, config.pipeline.model.grid_resolution = "white", 16
    config.pipeline.datamanager.num_scales = 2
    config.pipeline.datamanager.dataparser = NerfstudioDataParserConfig(eval_mode="interval", eval_interval=6)
    train.main(config)
    return config.get_base_dir()


RUNS = pytest.mark.parametrize("name", ["colmap_run", "capture_run"])


@RUNS
def test_runs_on_captures_open_and_export(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run = open_run(request.getfixturevalue(name), device="cpu")
    assert run.step == 1
    facts = export_mesh(run, tmp_path / "mesh.ply", resolution=16, level=0.09, min_component=0, progress=False)
    assert len(trimesh.load(tmp_path / "mesh.ply").faces) == facts["faces"] > 0


@RUNS
def test_the_cameras_of_runs_on_captures_are_found_again(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    config = restore_config(read_config(folder / "config.yml"), "eugen-nerf-tiny", folder / "config.yml", METHODS)
    rays = training_rays(open_run(folder, device="cpu"), config)
    assert len(rays.cameras) == (7 if name == "colmap_run" else 10)


@RUNS
def test_runs_on_captures_are_evaluated(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    ComputePSNR(request.getfixturevalue(name) / "config.yml", tmp_path / "e.json").main()
    assert json.loads((tmp_path / "e.json").read_text())["results"]["psnr"] > 0


def test_renders_of_all_scales_have_names_of_their_own(capture_run: Path, tmp_path: Path) -> None:
    DatasetRender(
        load_config=capture_run / "config.yml", output_path=tmp_path, rendered_output_names=["rgb"], image_format="png"
    ).main()
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "test" / "rgb").iterdir()}
    assert sizes == {
        "frame_00000.png": (24, 24), "frame_00006.png": (24, 24),
        "frame_00000_2.png": (12, 12), "frame_00006_2.png": (12, 12),
    }  # fmt: skip
