"""Runs of the iSDF methods: trained, resumed, opened, evaluated, rendered, exported, and refused."""

from __future__ import annotations

import json
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
from support.depth_recordings import HIGH, LOW, write_color, write_transforms
from support.helpers import here, typed

from eugen_fields.benchmark.quality.train import make_config, train_run
from eugen_fields.errors import InputError
from eugen_fields.fields.sdf import SDFField
from eugen_fields.meshing import extract_mesh
from eugen_fields.meshing.export_mesh import export_mesh
from eugen_fields.meshing.extraction.distance import gradient_bound
from eugen_fields.runs import SDFRun, open_run
from eugen_fields.runs.checkpoints import list_checkpoints, read_checkpoint

FRAMES = 42
SMALL = (
    "--pipeline.datamanager.rays-per-frame", 8, "--pipeline.model.layer-width", 16,
    "--pipeline.model.num-features", 8,
)  # fmt: skip


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A walk through an empty box room, once round."""
    return write_transforms(tmp_path_factory.mktemp("recordings") / "box", FRAMES)


@pytest.fixture(scope="module")
def box_trainer(recording: Path, tmp_path_factory: pytest.TempPathFactory):
    """The trainer, at its end, of eugen-isdf-tiny on that room."""
    config = make_config("eugen-isdf-tiny", recording, tmp_path_factory.mktemp("isdf"), seed=0, steps=800)
    config.pipeline.datamanager.rays_per_frame = 12  # type: ignore[attr-defined]
    return train_run(config, progress=False)[0]


@pytest.fixture(scope="module")
def box_run(box_trainer) -> Path:
    return box_trainer.config.get_base_dir()


def box_distance(points: torch.Tensor) -> torch.Tensor:
    """Distance to the nearest wall from inside the room."""
    low, high = torch.tensor(LOW), torch.tensor(HIGH)
    return torch.minimum(points - low, high - points).amin(dim=-1).float()


# Training


@pytest.mark.parametrize(
    "method, flags",
    [
        ("eugen-isdf", ()),
        ("prp-isdf", ("--pipeline.model.matrix", "ternary", "--pipeline.model.gradient-mode", "forward")),
        ("eugen-isdf-tiny", ("--pipeline.model.layer", "snnk", "--pipeline.model.bounds", "ray")),
        ("eugen-isdf-tiny", ("--pipeline.datamanager.clock", "offline", "--pipeline.model.layer", "eugen-residual")),
    ],
)
def test_every_method_trains_two_steps(method: str, flags: tuple, recording: Path, tmp_path: Path) -> None:
    config = typed(method, recording, tmp_path, "--max-num-iterations", 2, *SMALL, *flags)
    train.main(config)
    ((step, path),) = list_checkpoints(config.get_base_dir() / "nerfstudio_models")
    assert step == 1
    state = read_checkpoint(path)["pipeline"]
    weights = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    assert all(bool(value.isfinite().all()) for value in weights.values() if value.is_floating_point())
    assert bool(weights["_model.seen.surface_bits"].any())
    assert state["stream"]["keyframes"] == (list(range(FRAMES)) if "offline" in flags else [0])


def test_the_steps_are_counted_from_the_stream_where_none_are_given(recording: Path, tmp_path: Path) -> None:
    flags = ("--pipeline.datamanager.first-frame-steps", 5, "--pipeline.datamanager.steps-per-frame", 1,
             "--pipeline.datamanager.steps-per-keyframe", 2, "--pipeline.datamanager.keyframe-rays", 20)  # fmt: skip
    config = typed("eugen-isdf-tiny", recording, tmp_path, *SMALL, *flags)
    train.main(config)
    steps = 5 + (FRAMES - 1) + 2 * 7
    assert config.max_num_iterations == steps
    saved, path = list_checkpoints(config.get_base_dir() / "nerfstudio_models")[-1]
    assert saved == steps - 1
    stream = read_checkpoint(path)["pipeline"]["stream"]
    assert stream["ended"] and stream["skipped"] == 0 and len(stream["keyframes"]) > 1


def test_a_stream_by_the_wall_clock_ends_with_the_stream_and_skips(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    flags = ("--pipeline.datamanager.clock", "wall", "--pipeline.datamanager.first-frame-steps", 2,
             "--pipeline.datamanager.steps-per-frame", 3, "--pipeline.datamanager.speed", 3.0,
             "--pipeline.datamanager.steps-per-keyframe", 2)  # fmt: skip
    config = typed("eugen-isdf-tiny", recording, tmp_path, *SMALL, *flags)
    train.main(config)
    saved, path = list_checkpoints(config.get_base_dir() / "nerfstudio_models")[-1]
    stream = read_checkpoint(path)["pipeline"]["stream"]
    assert stream["ended"] and stream["current"] == FRAMES - 1 and stream["skipped"] > 0
    assert read_checkpoint(path)["step"] == saved < 3 * FRAMES
    assert f"{stream['skipped']} were skipped" in capsys.readouterr().out


@pytest.mark.e2e
def test_a_run_resumes_at_its_frame(recording: Path, tmp_path: Path) -> None:
    flags = ("--pipeline.datamanager.first-frame-steps", 4, "--pipeline.datamanager.steps-per-frame", 1, *SMALL)
    first = typed("eugen-isdf-tiny", recording, tmp_path / "first", "--max-num-iterations", 9, *flags)
    train.main(first)
    saved = first.get_base_dir() / "nerfstudio_models"
    before = read_checkpoint(saved / "step-000000008.ckpt")["pipeline"]
    assert before["stream"]["current"] > 1
    second = typed(
        "eugen-isdf-tiny", recording, tmp_path / "second", *flags, "--load-dir", saved, "--max-num-iterations", 60
    )
    second.save_config()
    second.pipeline.datamanager.data = recording
    trainer = second.setup(local_rank=0, world_size=1)
    trainer.setup()
    assert trainer.pipeline.datamanager.clock.state_dict() == before["stream"]
    assert torch.equal(trainer.pipeline.model.seen.surface_bits, before["_model.seen.surface_bits"])
    trainer.train()
    last, path = list_checkpoints(second.get_base_dir() / "nerfstudio_models")[-1]
    assert last == 59 and read_checkpoint(path)["pipeline"]["stream"]["ended"]


@pytest.mark.e2e
def test_the_same_seed_gives_the_same_map(recording: Path, tmp_path: Path) -> None:
    fields = []
    for name in ("one", "two"):
        config = make_config("eugen-isdf-tiny", recording, tmp_path / name, seed=3, steps=30)
        config.pipeline.datamanager.rays_per_frame = 8  # type: ignore[attr-defined]
        config.pipeline.datamanager.first_frame_steps = 5  # type: ignore[attr-defined]
        config.pipeline.datamanager.steps_per_frame = 2  # type: ignore[attr-defined]
        fields.append(train_run(config, progress=False)[0].pipeline.model.state_dict())
    assert all(torch.equal(value, fields[1][name]) for name, value in fields[0].items())


def test_a_stream_without_colour_trains_and_evaluates(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path / "box", 6, suffix=".npy", color=False)
    config = typed(
        "eugen-isdf-tiny", folder, tmp_path / "out", "--max-num-iterations", 3, "--steps-per-eval-image", 2,
        "--steps-per-eval-batch", 2, "--steps-per-eval-all-images", 2, *SMALL,
    )  # fmt: skip
    train.main(config)
    assert list_checkpoints(config.get_base_dir() / "nerfstudio_models")


def test_frames_that_cannot_be_used_are_skipped_and_the_map_survives(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path / "box", 12)
    content = json.loads((folder / "transforms.json").read_text())
    content["frames"][3]["transform_matrix"] = [[float("nan")] * 4] * 4
    Image.fromarray(np.zeros((24, 32), dtype=np.uint16)).save(folder / content["frames"][5]["depth_file_path"])
    del content["frames"][7]
    (folder / "transforms.json").write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="skipped 2 of 11 frames") as warned:
        config = make_config("eugen-isdf-tiny", folder, tmp_path / "out", seed=0, steps=40)
        config.pipeline.datamanager.first_frame_steps = 5  # type: ignore[attr-defined]
        config.pipeline.datamanager.steps_per_frame = 2  # type: ignore[attr-defined]
        trainer, _ = train_run(config, progress=False)
    assert len({str(one.message) for one in warned if "skipped" in str(one.message)}) == 1
    clock = trainer.pipeline.datamanager.clock
    assert len(clock) == 9 and clock.ended
    assert all(bool(weight.isfinite().all()) for weight in trainer.pipeline.model.parameters())


# Bad input


@pytest.mark.parametrize(
    "flags, says",
    [
        (("--pipeline.datamanager.steps-per-frame", 0), "steps_per_frame is 0"),
        (("--pipeline.datamanager.rays-per-frame", 0), "rays_per_frame is 0"),
        (("--pipeline.datamanager.speed", 0), "speed is 0"),
        (("--pipeline.datamanager.keyframe-agreement", 1.5), "keyframe_agreement is 1.5"),
        (("--pipeline.datamanager.num-replayed", -1), "num_replayed is -1"),
        (("--pipeline.model.truncation", 0), "truncation is 0"),
        (("--pipeline.model.replace", 9), "replace"),
        (("--machine.num-devices", 2), "--machine.num-devices 2"),
        (("--machine.num-machines", 2, "--machine.dist-url", "tcp://127.0.0.1:1"), "--machine.num-machines 2"),
        (("--max-num-iterations", -3), "--max-num-iterations is -3"),
        (("nerfstudio-data",), "depth-stream"),
        (("depth-stream", "--depth-unit-scale-factor", 1.0), "--depth-unit-scale-factor 0.001"),
        (("--optimizers.fields.scheduler.hold", 1.0), "hold is 1.0"),
    ],
)
def test_wrong_flags_are_one_message_before_training(flags: tuple, says: str, recording: Path, tmp_path: Path) -> None:
    config = typed("eugen-isdf-tiny", recording, tmp_path / "out", *flags)
    with pytest.raises(InputError) as error:
        train.main(config)
    assert says in error.value.message
    assert not (tmp_path / "out").exists()


def test_a_folder_without_depth_is_named(capture_scene: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="depth_file_path") as error:
        train.main(typed("eugen-isdf-tiny", capture_scene, tmp_path))
    assert str(capture_scene) in error.value.message


# Finished runs


@pytest.mark.e2e
def test_the_box_is_learnt_to_a_centimetre(box_trainer) -> None:
    """On average at the walls and 10 and 20 cm before them, wherever a camera looked; gradients there are of length 1
    to a seventh."""
    manager, field = box_trainer.pipeline.datamanager, box_trainer.pipeline.model.field
    assert manager.clock.ended and 2 <= len(manager.clock.keyframes) < FRAMES
    torch.manual_seed(0)
    rays = manager.draw(list(range(FRAMES)), 50)
    errors, residuals = [], []
    for before in (0.0, 0.1, 0.2):
        points = rays.at((rays.distances - before)[:, None])[:, 0]
        sdf, gradient = field.sdf_and_gradient(points)
        errors.append(float((sdf - box_distance(points)).abs().mean()))
        residuals.append(float((gradient.norm(dim=-1) - 1.0).abs().mean()))
    assert np.mean(errors) < 0.01, errors
    assert max(residuals[1:]) < 1 / 7, residuals


@pytest.mark.e2e
def test_eval_and_render_give_the_depth_of_the_room(box_run: Path, tmp_path: Path) -> None:
    ComputePSNR(box_run / "config.yml", tmp_path / "e.json").main()
    results = json.loads((tmp_path / "e.json").read_text())["results"]
    assert results["depth_error_cm"] < 5.0 and results["depth_agreement"] > 0.9, results
    DatasetRender(
        load_config=box_run / "config.yml", output_path=tmp_path, image_format="png",
        rendered_output_names=["rgb", "depth", "accumulation", "normals"],
    ).main()  # fmt: skip
    assert {path.name for path in (tmp_path / "test").iterdir()} == {"rgb", "depth", "accumulation", "normals"}


@pytest.mark.e2e
def test_the_stock_point_cloud_lies_on_the_walls(box_run: Path, tmp_path: Path) -> None:
    ExportPointCloud(
        load_config=box_run / "config.yml", output_dir=tmp_path, num_points=1500, num_rays_per_batch=1000
    ).main()
    cloud = torch.from_numpy(np.array(trimesh.load(tmp_path / "point_cloud.ply").vertices))
    assert len(cloud) >= 1000
    assert float(box_distance(cloud).abs().median()) < 0.03


@pytest.mark.e2e
def test_a_run_opens_and_exports_its_walls(box_run: Path, tmp_path: Path) -> None:
    run = open_run(box_run, device="cpu")
    assert isinstance(run, SDFRun) and run.step == 799
    assert 0.02 < float(run.seen.surface_cells().float().mean()) < 0.5
    torch.testing.assert_close(run.world_from_scene, torch.eye(4, dtype=torch.float64))
    for name in ("mesh.ply", "mesh.glb", "mesh.obj"):
        facts = export_mesh(run, tmp_path / name, resolution=64, progress=False)
        assert facts["faces"] > 1000 and facts["level"] == 0.0
        mesh = trimesh.load(tmp_path / name, force="mesh")
        assert float(box_distance(torch.from_numpy(np.array(mesh.vertices))).abs().mean()) < 0.02
    inward = (mesh.triangles_center - (LOW + HIGH) / 2) * mesh.face_normals
    assert float((inward.sum(axis=1) < 0).mean()) > 0.95, "triangles face the room"
    closed = export_mesh(run, tmp_path / "box.ply", resolution=48, region="box", progress=False)
    assert closed["watertight"]
    nearer = export_mesh(run, tmp_path / "near.ply", resolution=48, level=0.1, progress=False)
    mesh = trimesh.load(tmp_path / "near.ply", force="mesh")
    assert nearer["level"] == 0.1
    assert abs(float(box_distance(torch.from_numpy(np.array(mesh.vertices))).median()) - 0.1) < 0.03


@pytest.mark.e2e
def test_blocks_that_are_passed_over_change_nothing(box_run: Path) -> None:
    """The bound on the gradient of a trained field holds."""
    field = open_run(box_run, device="cpu").field.folded()
    assert isinstance(field, SDFField)
    evaluated = []

    def distance(points: torch.Tensor) -> torch.Tensor:
        evaluated.append(len(points))
        return -field.evaluate(points)

    bound, meshes, counts = gradient_bound(field, field.aabb), [], []
    for lipschitz in (None, bound):
        evaluated.clear()
        meshes.append(extract_mesh(distance, field.aabb, 96, 0.0, lipschitz=lipschitz, progress=False))
        counts.append(sum(evaluated))
    assert counts[1] < 0.95 * counts[0]
    np.testing.assert_array_equal(meshes[0][1], meshes[1][1])
    np.testing.assert_allclose(meshes[0][0], meshes[1][0], atol=1e-4)


@pytest.mark.e2e
def test_walls_are_cropped_closed_and_thinned(box_run: Path, tmp_path: Path) -> None:
    low, high = LOW, (LOW[0] + 1.0, *HIGH[1:])
    part = export_mesh(box_run, tmp_path / "part.stl", box=(*low, *high), resolution=48, device="cpu", progress=False)
    assert not part["watertight"] and part["extent"][0] < 1.1 and part["units"] == "metres"
    whole = export_mesh(
        box_run, tmp_path / "room.ply", watertight=True, smooth=5, resolution=48, device="cpu", progress=False
    )
    assert whole["watertight"] and whole["volume"] > 0
    thin = export_mesh(box_run, tmp_path / "thin.ply", faces=2000, resolution=48, device="cpu", progress=False)
    assert thin["faces"] <= 2000
    vertices = torch.from_numpy(np.array(trimesh.load(tmp_path / "thin.ply", force="mesh").vertices))
    assert float(box_distance(vertices).abs().mean()) < 0.03


@pytest.mark.e2e
def test_a_level_without_a_surface_is_told_with_the_span(box_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing at level 50 m.*distances span"):
        export_mesh(box_run, tmp_path / "mesh.ply", resolution=16, level=50.0, device="cpu", progress=False)
    assert not (tmp_path / "mesh.ply").exists()


def test_colours_of_another_size_do_not_matter(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path / "box", 6)
    for index in range(6):
        write_color(folder / f"images/{index:04d}.png", index, (64, 48))
    config = typed(
        "eugen-isdf-tiny", folder, tmp_path / "out", "--max-num-iterations", 3, "--steps-per-eval-image", 2, *SMALL
    )
    train.main(config)
    assert list_checkpoints(config.get_base_dir() / "nerfstudio_models")


@pytest.mark.e2e
@pytest.mark.parametrize("path", [("spiral", "--seconds", 0.1), ("interpolate", "--interpolation-steps", 2)])
def test_paths_are_rendered(path: tuple, box_run: Path, tmp_path: Path) -> None:
    flags = ("--output-format", "images", "--output-path", tmp_path / "path.mp4", "--downscale-factor", 4)
    result = here("ns-render", path[0], "--load-config", box_run / "config.yml", *path[1:], *flags)
    assert result.returncode == 0 and len(list((tmp_path / "path").iterdir())) >= 2, result.stdout + result.stderr
