"""Runs of the plane methods: trained, resumed, opened, evaluated, exported, transferred, and refused."""

from __future__ import annotations

import json
import math
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from nerfstudio.scripts import train
from nerfstudio.scripts.eval import ComputePSNR
from support import helpers

from eugen_fields.errors import InputError
from eugen_fields.fields import PlaneField
from eugen_fields.layers import EUGenLinear
from eugen_fields.meshing.export_mesh import export_mesh
from eugen_fields.methods import METHODS
from eugen_fields.models import summary
from eugen_fields.runs import build_model, open_run
from eugen_fields.runs.checkpoints import list_checkpoints, read_checkpoint
from eugen_fields.transfer.new_run import transfer_run
from eugen_fields.transfer.options import TransferOptions

CAPTURE = ("nerfstudio-data", "--eval-mode", "fraction")
SMALL = ("--pipeline.model.plane-resolutions", 8, 16, "--pipeline.model.proposal-resolutions", 8)


def typed(method: str, scene: Path, output: Path, *flags: object):
    """A run of two small steps, unless flags say otherwise."""
    return helpers.typed(
        method, scene, output, "--max-num-iterations", 2, "--pipeline.target-num-samples", 2048, *flags
    )


# Training


@pytest.mark.parametrize(
    "method, flags",
    [
        ("eugen-planes", SMALL),
        ("prp-planes", (*SMALL, "--pipeline.model.camera-optimizer.mode", "SO3xR3")),
        ("eugen-planes-tiny", ("--pipeline.model.layer", "eugen", "--pipeline.model.total-variation-weight", 0.01)),
        ("eugen-planes-tiny", (*SMALL, "--pipeline.model.layer", "eugen-residual", "--pipeline.model.dense-start", 0)),
    ],
)
def test_every_method_trains_two_steps(method: str, flags: tuple, sphere_scene: Path, tmp_path: Path) -> None:
    config = typed(method, sphere_scene, tmp_path, *flags)
    train.main(config)
    ((step, path),) = list_checkpoints(config.get_base_dir() / "nerfstudio_models")
    assert step == 1
    state = read_checkpoint(path)
    assert {"fields", "planes", "proposals"} <= set(state["optimizers"])
    weights = state["pipeline"]
    assert all(bool(value.isfinite().all()) for value in weights.values() if value.is_floating_point())
    assert "_model.proposal.position_encoding.planes.0" in weights


def test_the_methods_are_found_by_nerfstudio() -> None:
    found = {entry.name for entry in entry_points(group="nerfstudio.method_configs")}
    assert {"eugen-planes", "prp-planes", "eugen-planes-tiny"} <= found & set(METHODS)


def test_rates_are_those_of_planes_and_scale_together(sphere_scene: Path, tmp_path: Path) -> None:
    config = typed("eugen-planes-tiny", sphere_scene, tmp_path, "--rate-factor", 0.5)
    config.fill_in_optimizers()
    optimizers = {name: group["optimizer"] for name, group in config.optimizers.items()}
    assert {name: optimizers[name].lr for name in ("fields", "planes", "proposals")} == dict.fromkeys(
        ("fields", "planes", "proposals"), 0.005
    )
    assert optimizers["fields"].algorithm == "adam" and optimizers["planes"].fused


def test_a_run_resumes_with_what_its_optimisers_knew(sphere_scene: Path, tmp_path: Path) -> None:
    def run(name: str, steps: int, *flags: object) -> Path:
        words = ("--max-num-iterations", steps, "--optimizers.planes.scheduler.max-steps", 6, *SMALL, *flags)
        words = ("--optimizers.fields.scheduler.max-steps", 6, "--optimizers.proposals.scheduler.max-steps", 6, *words)
        config = typed("eugen-planes-tiny", sphere_scene, tmp_path / name, *words)
        train.main(config)
        return config.get_base_dir() / "nerfstudio_models"

    first = run("first", 3)
    second = run("second", 4, "--load-dir", first)
    before, after = (read_checkpoint(list_checkpoints(folder)[-1][1]) for folder in (first, second))
    name = "_model.field.position_encoding.planes.1"
    assert not torch.equal(before["pipeline"][name], after["pipeline"][name])
    steps = [state["optimizers"]["planes"]["state"][0]["step"].item() for state in (before, after)]
    assert steps == [3.0, 4.0]


def test_planes_beyond_the_memory_are_one_message_before_training(sphere_scene: Path, tmp_path: Path) -> None:
    config = typed(
        "eugen-planes-tiny", sphere_scene, tmp_path / "out", "--pipeline.model.plane-resolutions", 32, 1_000_000
    )
    with pytest.raises(
        InputError, match=r"plane_resolutions are \(32, 1000000\).*GiB free.*-resolutions \d+ \d+ would"
    ):
        train.main(config)
    assert not (tmp_path / "out").exists()


# Finished runs


def test_runs_are_opened_evaluated_and_rendered(bounded_planes_run, unbounded_planes_run, tmp_path: Path) -> None:
    for trainer, least in ((bounded_planes_run, 25.0), (unbounded_planes_run, 13.0)):
        folder = trainer.config.get_base_dir()
        ComputePSNR(folder / "config.yml", tmp_path / "e.json").main()
        assert json.loads((tmp_path / "e.json").read_text())["results"]["psnr"] > least
        run = open_run(folder, device="cpu")
        assert isinstance(run.field, PlaneField) and run.method_name == "eugen-planes-tiny"
        camera, _ = trainer.pipeline.datamanager.fixed_indices_eval_dataloader.get_camera(0)
        trainer.pipeline.eval()
        with torch.no_grad():
            trained = trainer.pipeline.model.get_outputs_for_camera(camera)["rgb"]
            opened = build_model(run).get_outputs_for_camera(camera)["rgb"]
        torch.testing.assert_close(opened, trained, rtol=0, atol=1e-5)


def test_large_views_are_scored_smaller_and_the_scores_say_so(
    unbounded_planes_run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = unbounded_planes_run.config.get_base_dir()
    written = (folder / "config.yml").read_text()
    results = {}
    for limit in (200_000, 300, 0):
        config = folder / f"scored_{limit}.yml"
        config.write_text(written.replace("eval_pixels: 200000", f"eval_pixels: {limit}"))
        try:
            ComputePSNR(config, tmp_path / "e.json").main()
        finally:
            config.unlink()
        results[limit] = json.loads((tmp_path / "e.json").read_text())["results"]
        said = " ".join(capsys.readouterr().out.split())
        line = "divided by 2 along each side. In a copy of config.yml, eval_pixels: 0 in place of 300 scores all pixels"
        assert (line in said) == (limit == 300)
        assert ("Scored in full, at 24x24 pixels." in said) == (limit != 300)
    sizes = [(found["scored_width"], found["scored_height"]) for found in results.values()]
    assert sizes == [(24.0, 24.0), (12.0, 12.0), (24.0, 24.0)]
    assert all(found["full_width"] == found["full_height"] == 24.0 for found in results.values())
    assert results[0]["psnr"] == results[200_000]["psnr"] != results[300]["psnr"] > 13.0


def test_a_bounded_run_exports_a_watertight_sphere(bounded_planes_run, tmp_path: Path) -> None:
    run = open_run(bounded_planes_run.config.get_base_dir(), device="cpu")
    facts = export_mesh(run, tmp_path / "mesh.ply", resolution=40, progress=False)
    assert facts["watertight"] and facts["components"] == 1
    mesh = trimesh.load(tmp_path / "mesh.ply")
    assert abs(np.median(np.linalg.norm(mesh.vertices, axis=1)) - 0.8) < 0.1


def test_an_unbounded_run_exports_a_box_of_the_world(unbounded_planes_run, tmp_path: Path) -> None:
    run = open_run(unbounded_planes_run.config.get_base_dir(), device="cpu")
    box, level = (*[-1.2] * 3, *[1.2] * 3), 2.0 * run.grid.min_density
    facts = export_mesh(
        run, tmp_path / "mesh.ply", box=box, level=level, resolution=32, min_component=0, progress=False
    )
    assert facts["faces"] > 100 and facts["box"] == box


@pytest.mark.parametrize(
    "name, asked",
    [
        ("bounded_planes_run", {"num_features": 64}),
        ("unbounded_planes_run", {"num_features": 64}),
        ("bounded_planes_run", {"multiplications": 6000, "finetune_steps": 20, "finetune_samples": 2048}),
        ("unbounded_planes_run", {"multiplications": 6000}),
    ],
)
def test_a_dense_head_becomes_an_eugen_one(
    name: str, asked: dict, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(name).config.get_base_dir()
    options = TransferOptions(folder, **asked, num_samples=8000, output_dir=tmp_path, device="cpu")
    student, made = transfer_run(options, METHODS, progress=False)
    teacher, run = open_run(folder, device="cpu"), open_run(student, device="cpu")
    assert isinstance(run.field.trunk.layers[0], EUGenLinear) and run.model_config.layer == "eugen"
    assert made.report.relative_error < 0.3
    if "multiplications" in asked:
        assert summary.multiplications(run.field) == made.multiplications <= 6000
        assert made.multiplications < summary.multiplications(teacher.field)
    assert (made.report.finetune_seconds > 0) == ("finetune_steps" in asked)
    for before, after in zip(teacher.field.position_encoding.parameters(), run.field.position_encoding.parameters()):
        assert torch.equal(before, after)
    scores = []
    for path in (folder, student):
        ComputePSNR(path / "config.yml", tmp_path / "e.json").main()
        scores.append(json.loads((tmp_path / "e.json").read_text())["results"]["psnr"])
    assert math.isfinite(scores[1]) and scores[1] > scores[0] - 3.0


def test_fine_tuning_without_bounds_is_refused(unbounded_planes_run, tmp_path: Path) -> None:
    folder = unbounded_planes_run.config.get_base_dir()
    options = TransferOptions(folder, finetune_steps=2, output_dir=tmp_path, device="cpu")
    with pytest.raises(InputError, match="--finetune-steps trains on rays within the scene box"):
        transfer_run(options, METHODS, progress=False)
