"""Runs of the Mip-NeRF-style methods: trained, resumed, opened, evaluated, rendered, exported, and refused."""

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
from nerfstudio.scripts.eval import ComputePSNR
from nerfstudio.scripts.exporter import ExportPointCloud
from nerfstudio.scripts.render import DatasetRender
from PIL import Image
from support import helpers

from eugen_fields.errors import InputError
from eugen_fields.layers.kinds import layer_kind
from eugen_fields.meshing.export_mesh import export_mesh
from eugen_fields.methods import METHODS
from eugen_fields.runs import open_run, read_config
from eugen_fields.runs.checkpoints import list_checkpoints, read_checkpoint
from eugen_fields.transfer.new_run import transfer_run
from eugen_fields.transfer.options import TransferOptions

CAPTURE = ("nerfstudio-data", "--eval-mode", "fraction")


def typed(method: str, scene: Path, output: Path, *flags: object):
    """A run of two small steps, unless flags say otherwise."""
    return helpers.typed(
        method, scene, output, "--max-num-iterations", 2, "--pipeline.target-num-samples", 2048, *flags
    )


def model_settings(folder: Path):
    return read_config(folder / "config.yml")["pipeline"]["model"]


# Training


@pytest.mark.parametrize(
    "method, flags",
    [
        ("eugen-mipnerf", ("--pipeline.model.init", "rademacher")),
        ("prp-mipnerf", ("--pipeline.model.matrix", "ternary", "--pipeline.model.camera-optimizer.mode", "SO3xR3")),
        ("eugen-mipnerf-tiny", ("--pipeline.model.layer", "snnk", "--pipeline.model.appearance-dim", 2)),
        ("eugen-mipnerf-tiny", ("--pipeline.model.layer", "dense", "--pipeline.model.proposal-layer", "low-rank")),
    ],
)
def test_every_method_trains_two_steps(method: str, flags: tuple, sphere_scene: Path, tmp_path: Path) -> None:
    config = typed(method, sphere_scene, tmp_path, *flags)
    train.main(config)
    folder = config.get_base_dir()
    ((step, path),) = list_checkpoints(folder / "nerfstudio_models")
    assert step == 1 and model_settings(folder)["regime"] == "bounded"
    state = read_checkpoint(path)["pipeline"]
    assert all(bool(value.isfinite().all()) for value in state.values() if value.is_floating_point())
    assert float(state["_model.field.footprint"]) > 0
    assert any(name.startswith("_model.proposal.") for name in state)


def test_the_first_step_keeps_to_the_samples_as_well(sphere_scene: Path, tmp_path: Path) -> None:
    """Who lowers their number has little memory, or time."""
    flags = ("--pipeline.target-num-samples", 4800, "--pipeline.model.layer-width", 16)
    for samples, rays in (((48,), 4800 // 72), ((4, 12), 4800 // 40)):
        config = typed(
            "eugen-mipnerf-tiny",
            sphere_scene,
            tmp_path,
            *flags,
            "--pipeline.model.num-samples",
            24,
            "--pipeline.model.proposal-samples",
            *samples,
        )
        config.prepare()
        config.pipeline.datamanager.data = sphere_scene
        pipeline = config.pipeline.setup(device="cpu")
        assert pipeline.datamanager.train_pixel_sampler.num_rays_per_batch == rays
        outputs, _, _ = pipeline.get_train_loss_dict(0)
        assert len(outputs["rgb"]) == rays


def test_captures_are_unbounded_unless_told_otherwise(capture_scene: Path, tmp_path: Path) -> None:
    config = typed("eugen-mipnerf-tiny", capture_scene, tmp_path, "--pipeline.model.background", "white", *CAPTURE)
    assert config.pipeline.model.regime == "auto"
    train.main(config)
    assert model_settings(config.get_base_dir())["regime"] == "unbounded"
    told = typed("eugen-mipnerf-tiny", capture_scene, tmp_path, "--pipeline.model.regime", "bounded", *CAPTURE)
    told.prepare()
    assert told.pipeline.model.regime == "bounded"
    unbounded, bounded = (each.optimizers["fields"]["optimizer"].adam_lr for each in (config, told))
    kind = layer_kind(config.pipeline.model.layer)
    assert bounded == kind.rate("nerf tiny") > unbounded == kind.rate("unbounded tiny")
    assert METHODS["eugen-mipnerf-tiny"].pipeline.model.regime == "auto"


def test_flags_win_over_the_size_of_the_paper(sphere_scene: Path, tmp_path: Path) -> None:
    config = typed(
        "eugen-mipnerf", sphere_scene, tmp_path, "--pipeline.model.size", "paper", "--pipeline.model.init",
        "rademacher", "--pipeline.model.proposal-samples", 32, 16,
    )  # fmt: skip
    model = config.pipeline.model
    assert model.setting("layer_width") == 1024 and model.setting("replace") == (5, 6, 7)
    assert model.max_samples_per_ray() == 32 + 16 + 32


def test_a_run_resumes_with_its_proposals_cameras_and_codes(sphere_scene: Path, tmp_path: Path) -> None:
    flags = ("--pipeline.model.camera-optimizer.mode", "SO3xR3", "--pipeline.model.appearance-dim", 2,
             "--pipeline.model.anneal-steps", 10, "--pipeline.model.layer-width", 16)  # fmt: skip
    first = typed("eugen-mipnerf-tiny", sphere_scene, tmp_path / "first", *flags)
    train.main(first)
    saved = first.get_base_dir() / "nerfstudio_models"
    second = typed(
        "eugen-mipnerf-tiny", sphere_scene, tmp_path / "second", *flags, "--load-dir", saved, "--max-num-iterations", 5
    )
    second.save_config()
    second.pipeline.datamanager.data = sphere_scene
    trainer = second.setup(local_rank=0, world_size=1)
    trainer.setup()
    before = read_checkpoint(saved / "step-000000001.ckpt")
    state = trainer.pipeline.state_dict()
    for name in ("proposal.trunk.layers.1.weight", "field.footprint", "field.appearance.weight"):
        assert torch.equal(state[f"_model.{name}"], before["pipeline"][f"_model.{name}"]), name
    adjustment = "_model.camera_optimizer.pose_adjustment"
    assert torch.equal(state[adjustment], before["pipeline"][adjustment]) and bool(state[adjustment].any())
    trainer.train()
    ended = list_checkpoints(second.get_base_dir() / "nerfstudio_models")[-1]
    assert ended[0] == 4
    assert trainer.pipeline.model.anneal_progress == pytest.approx(0.4), "annealing goes on where it was"
    assert not torch.equal(read_checkpoint(ended[1])["pipeline"][adjustment], before["pipeline"][adjustment])


def test_codes_for_other_images_are_refused_by_name(sphere_scene: Path, capture_scene: Path, tmp_path: Path) -> None:
    flags = ("--pipeline.model.appearance-dim", 2, "--pipeline.model.layer-width", 16)
    first = typed("eugen-mipnerf-tiny", sphere_scene, tmp_path / "first", *flags)
    train.main(first)
    second = typed(
        "eugen-mipnerf-tiny", capture_scene, tmp_path / "second", *flags, "--load-dir",
        first.get_base_dir() / "nerfstudio_models", "--max-num-iterations", 5, *CAPTURE,
    )  # fmt: skip
    with pytest.raises(InputError, match="is of another network.*appearance"):
        train.main(second)


@pytest.mark.parametrize(
    "flags, says",
    [
        (("proposal-samples", 1), "proposal_samples is (1,)"),
        (("proposal-samples", 0), "proposal_samples is (0,)"),
        (("proposal-samples", 8, 1), "proposal_samples is (8, 1)"),
        (("num-samples", 1), "num_samples is 1"),
        (("near-plane", 3.0, "far-plane", 2.0), "near_plane is 3.0"),
        (("appearance-dim", -1), "appearance-dim is -1"),
        (("anneal-steps", -1), "anneal-steps is -1"),
        (("interlevel-weight", -1.0), "interlevel-weight is -1.0"),
        (("distortion-weight", -0.1), "distortion-weight is -0.1"),
        (("proposal-width", 0), "proposal_width is 0"),
    ],
)
def test_wrong_flags_are_one_message_before_training(
    flags: tuple, says: str, sphere_scene: Path, tmp_path: Path
) -> None:
    words = [f"--pipeline.model.{word}" if isinstance(word, str) else word for word in flags]
    config = typed("eugen-mipnerf-tiny", sphere_scene, tmp_path / "out", *words)
    with pytest.raises(InputError) as error:
        train.main(config)
    assert says in error.value.message
    assert not (tmp_path / "out").exists()


# Finished runs


@pytest.fixture(scope="module")
def bounded_run(bounded_mip_run) -> Path:
    return bounded_mip_run.config.get_base_dir()


@pytest.fixture(scope="module")
def unbounded_run(unbounded_mip_run) -> Path:
    return unbounded_mip_run.config.get_base_dir()


def test_eval_scores_the_test_views(bounded_run: Path, unbounded_run: Path, tmp_path: Path) -> None:
    for folder, least in ((bounded_run, 25.0), (unbounded_run, 13.0)):
        ComputePSNR(folder / "config.yml", tmp_path / "e.json").main()
        results = json.loads((tmp_path / "e.json").read_text())["results"]
        assert results["psnr"] > least, results


def test_render_dataset_writes_images_like_the_truth(bounded_run: Path, tmp_path: Path) -> None:
    DatasetRender(
        load_config=bounded_run / "config.yml", output_path=tmp_path, image_format="png",
        rendered_output_names=["rgb", "depth", "accumulation", "normals"],
    ).main()  # fmt: skip
    assert {path.name for path in (tmp_path / "test").iterdir()} == {"rgb", "depth", "accumulation", "normals"}
    renders = sorted((tmp_path / "test" / "rgb").iterdir())
    assert len(renders) == 2
    render = np.asarray(Image.open(renders[0]).convert("RGB")) / 255.0
    assert render.shape == (24, 24, 3)
    assert render[0, 0].min() > 0.9, "the corner is background"
    assert render[12, 12].min() < 0.6, "the middle is the sphere"


def test_export_pointcloud_lies_on_the_sphere(bounded_run: Path, tmp_path: Path) -> None:
    ExportPointCloud(
        load_config=bounded_run / "config.yml", output_dir=tmp_path, num_points=2000, num_rays_per_batch=2048
    ).main()
    cloud = trimesh.load(tmp_path / "point_cloud.ply")
    assert len(cloud.vertices) >= 1500
    assert abs(np.median(np.linalg.norm(cloud.vertices, axis=1)) - 0.8) < 0.1


def test_a_bounded_run_opens_with_its_grid_and_exports_a_watertight_sphere(bounded_run: Path, tmp_path: Path) -> None:
    run = open_run(bounded_run, device="cpu")
    assert (run.step, run.method_name) == (299, "eugen-mipnerf-tiny")
    assert float(run.field.footprint) > 0 and not run.field.training
    places = torch.tensor([[0.0, 0.0, 0.75], [1.3, 1.3, 1.3]])
    assert run.grid.occupied_at(places).tolist() == [True, False]
    assert 0.02 < float(run.grid.occupied.float().mean()) < 0.5
    saved = read_checkpoint(bounded_run / "nerfstudio_models" / "step-000000299.ckpt")["pipeline"]
    assert torch.equal(run.grid.occupied, saved["_model.grid.occupied"])
    facts = export_mesh(run, tmp_path / "mesh.ply", resolution=40, progress=False)
    assert facts["watertight"] and facts["components"] == 1
    assert max(abs(side - 1.6) for side in facts["extent"]) < 0.2
    mesh = trimesh.load(tmp_path / "mesh.ply")
    assert abs(np.median(np.linalg.norm(mesh.vertices, axis=1)) - 0.8) < 0.1
    colors = mesh.visual.vertex_colors / 255.0
    top, bottom = (colors[np.sign(mesh.vertices[:, 2]) == side].mean(axis=0) for side in (1, -1))
    assert top[2] > bottom[2] + 0.2 and bottom[0] > top[0] + 0.2, "blue above, red below"


def test_an_unbounded_run_with_corrected_cameras_and_codes_opens_with_a_filled_grid(unbounded_run: Path) -> None:
    assert model_settings(unbounded_run)["camera_optimizer"].class_path.endswith("CameraOptimizerConfig")
    run = open_run(unbounded_run, device="cpu")
    assert run.model_config.regime == "unbounded" and not run.field.bounded
    assert run.field.appearance.weight.shape == (11, 4)
    far = run.field.density(torch.tensor([[1e4, 0.0, 0.0]]))[0]
    assert bool(far.isfinite().all())
    saved = read_checkpoint(unbounded_run / "nerfstudio_models" / "step-000000299.ckpt")["pipeline"]
    assert not any(name.startswith("_model.grid.") for name in saved)
    places = run.aabb[0] + torch.rand(50_000, 3, generator=torch.Generator().manual_seed(0)) * run.aabb.diff(dim=0)
    dense = run.field.density(places)[0] > 10.0 * run.grid.min_density
    assert int(dense.sum()) > 100 and 0.0 < float(run.grid.occupied.float().mean()) < 0.9
    assert float(run.grid.occupied_at(places[dense]).float().mean()) > 0.95


@pytest.mark.parametrize("half", [1.2, 8.0])
def test_an_unbounded_run_exports_a_box_of_the_world(unbounded_run: Path, tmp_path: Path, half: float) -> None:
    """The smaller box lies between the cameras, the larger one reaches where space is contracted."""
    run = open_run(unbounded_run, device="cpu")
    box, level = (*[-half] * 3, *[half] * 3), 2.0 * run.grid.min_density
    facts = export_mesh(
        run, tmp_path / "mesh.ply", box=box, level=level, resolution=48, min_component=0, progress=False
    )
    mesh = trimesh.load(tmp_path / "mesh.ply", process=False)
    assert facts["where"] == "--box" and facts["box"] == box and facts["watertight"]
    assert np.abs(mesh.vertices).max() <= half + 1e-5
    scene_from_world = torch.linalg.inv(run.world_from_scene).float()
    points = torch.from_numpy(mesh.vertices[(np.abs(mesh.vertices) < 0.99 * half).all(axis=1)]).float()
    density = run.field.density(points @ scene_from_world[:3, :3].T + scene_from_world[:3, 3])[0]
    assert len(points) > 100 and 0.5 < float(density.median()) / level < 2.0


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("size", "huge", "size is 'huge'"),
        ("regime", "indoors", "regime is 'indoors'"),
        ("regime", "auto", "regime is still auto"),
        ("basis", "cube", "basis is 'cube'"),
        ("num_layers", "eight", "build no network"),
        ("num_samples", "1", "num_samples is 1"),
        ("proposal_samples", "7", "build no network"),
        ("appearance_dim", "-1", "appearance_dim is -1"),
        ("near_plane", ".nan", "near_plane is nan"),
        ("layer_width", "32", "is of another network"),
        ("appearance_dim", "3", "is of another network"),
    ],
)
def test_foreign_values_in_a_config_are_refused(
    name: str, value: str, says: str, bounded_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(bounded_run, folder)
    path = folder / "config.yml"
    pattern = rf"(?m)^    {name}:.*\n(    - .*\n)*"  # a list's items may stand below its name
    text, count = re.subn(pattern, f"    {name}: {value}\n", path.read_text())
    assert count == 1
    path.write_text(text)
    with pytest.raises(InputError) as error:
        open_run(folder, device="cpu")
    assert says in error.value.message


def test_a_camera_optimizer_that_is_anything_else_is_passed_over(bounded_run: Path, tmp_path: Path) -> None:
    folder, trap = tmp_path / "run", tmp_path / "trap"
    shutil.copytree(bounded_run, folder)
    path = folder / "config.yml"
    before, model = path.read_text().split("\n  model:")
    block = r"(?m)^    camera_optimizer:.*\n((     .*)\n)*"
    call = f"    camera_optimizer: !!python/object/apply:os.system ['touch {trap}']\n"
    model, count = re.subn(block, call, model)
    assert count == 1
    path.write_text(f"{before}\n  model:{model}")
    assert open_run(folder, device="cpu").step == 299
    assert not trap.exists()


def test_a_mip_run_is_no_teacher_and_is_told_so_at_once(
    bounded_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eugen_fields.transfer.teacher.open_run", lambda *_: pytest.fail("opened the run first"))
    with pytest.raises(InputError, match=r"of method eugen-mipnerf-tiny; a teacher is one of .*eugen-nerf") as error:
        transfer_run(TransferOptions(bounded_run, output_dir=tmp_path), METHODS, progress=False)
    assert "mipnerf" not in error.value.message.split("a teacher is one of")[1]
    assert not list(tmp_path.iterdir())
