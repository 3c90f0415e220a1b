"""What is stored comes back: every kind of layer, bit by bit in full precision."""

from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from support.stored_runs import BOX, CONES, KINDS, MAKE_RUN, camera, cone_run, distance_run, full, radiance_run

from eugen_fields.errors import InputError
from eugen_fields.fields import NeRFField, SDFField
from eugen_fields.models.mipnerf import MipNeRFModelConfig
from eugen_fields.models.nerf import NeRFModelConfig
from eugen_fields.models.planes import PlanesModelConfig
from eugen_fields.models.radiance import cone_radius
from eugen_fields.runs import RadianceRun, SDFRun, build_model
from eugen_fields.storing.draft import draft_of
from eugen_fields.storing.loading import StoredField
from eugen_fields.storing.opening import run_of

PLACES = 2.0 * torch.rand(400, 3, generator=torch.Generator().manual_seed(1)) - 1.0
AHEAD = torch.nn.functional.normalize(PLACES.roll(1, 0), dim=-1)


def values(field):
    """What a field says of some places."""
    if isinstance(field, SDFField):
        return [field.sdf(PLACES), field.sdf_and_gradient(PLACES)[1]]
    return list(field(PLACES, AHEAD))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", MAKE_RUN)
def test_a_file_in_full_precision_is_the_folded_field(what, kind, tmp_path):
    options = KINDS[kind]
    run = MAKE_RUN[what](tmp_path / "run", **options)
    _, stored = full(run)
    for mine, theirs in zip(values(stored.field), values(run.field)):
        torch.testing.assert_close(mine, theirs, rtol=2e-4, atol=2e-4)
    assert stored.facts["multiplications"] > 0 and stored.facts["layer"].startswith(str(options["layer"]))


@pytest.mark.parametrize("kind", CONES)
def test_a_file_of_cones_in_full_precision_is_the_folded_field(kind, tmp_path):
    run = cone_run(tmp_path / "run", **CONES[kind])
    _, stored = full(run)
    field = stored.field
    assert type(field) is type(run.field)
    ends = torch.full((400, 1), 2.0), torch.full((400, 1), 2.1)
    spreads = run.field.places(PLACES, AHEAD, *ends, torch.full((400, 1), 0.02))[1][:, 0]
    for places in ((PLACES,), (PLACES, spreads)):
        mine, theirs = field.density(*places), run.field.density(*places)
        torch.testing.assert_close(mine, theirs, rtol=2e-4, atol=2e-4)
        colors = field.color(mine[1], AHEAD), run.field.color(theirs[1], AHEAD)
        torch.testing.assert_close(*colors, rtol=2e-4, atol=2e-4)
    assert not field.density(PLACES, spreads)[0].allclose(field.density(PLACES, 0.0 * spreads)[0]), "widths are lost"


@pytest.mark.parametrize("kind", CONES)
def test_renders_of_cones_are_those_of_the_file_opened_as_a_run(kind, tmp_path):
    run = cone_run(tmp_path / "run", **CONES[kind])
    stored = full(run)[1]
    compare_renders(stored, [run_of(stored, "cpu")], tolerance=1e-3)


def test_pixels_of_cameras_are_the_cones_of_the_models(tmp_path):
    view = camera(40)
    size = view.width, view.height
    bundle = Cameras(view.pose[None], view.fx, view.fy, view.cx, view.cy, *size).generate_rays(0).flatten()
    origins, directions, radius = view.rays()
    torch.testing.assert_close(directions, bundle.directions, rtol=0, atol=1e-5)
    torch.testing.assert_close(radius, cone_radius(bundle), rtol=0.03, atol=0)  # differences there, derivatives here


@pytest.mark.parametrize("kind", ["eugen with skip connections", "prp, orthogonal", "eugen-residual"])
def test_renders_are_those_of_the_run(kind, tmp_path):
    run = radiance_run(tmp_path / "run", **KINDS[kind])
    stored = full(run)[1]
    compare_renders(stored, [run, run_of(stored, "cpu")], tolerance=2e-5)


def test_distance_renders_are_those_of_the_run(tmp_path):
    run = distance_run(tmp_path / "run", **KINDS["eugen"])
    stored = full(run)[1]
    compare_renders(stored, [run, run_of(stored, "cpu")], tolerance=1e-4)


def compare_renders(stored: StoredField, runs: list[RadianceRun | SDFRun], tolerance: float) -> None:
    """The file against the models that nerfstudio's commands render runs with, or the file opened as a run."""
    view = camera()
    size = view.width, view.height
    rays = Cameras(view.pose[None], view.fx, view.fy, view.cx, view.cy, *size).generate_rays(0, keep_shape=True)
    mine = stored.render(view, normals=True)
    for opened in runs:
        theirs = build_model(opened).get_outputs_for_camera_ray_bundle(rays)
        assert set(theirs) == set(mine)
        for name, value in theirs.items():
            difference = (mine[name] - value).abs()
            assert float(difference.mean()) < tolerance, name
    assert 0.05 < float((mine["accumulation"] > 0.1).float().mean()) < 0.95, "the view shows all or nothing"


def test_grids_cameras_and_facts_come_back(tmp_path):
    run = radiance_run(tmp_path / "outputs" / "cups" / "eugen-nerf-tiny" / "now", layer="eugen", num_features=8)
    _, stored = full(run)
    assert stored.grid is not None
    assert stored.grid.occupied.equal(run.grid.occupied) and stored.grid.bounds.equal(run.grid.bounds)
    assert not bool((stored.grid.allowed & ~run.grid.allowed).any()), "cells outside of the visual hull are allowed"
    assert stored.facts["name"] == "cups" and stored.facts["step"] == 7
    assert stored.world_from_scene.equal(run.world_from_scene)
    torch.testing.assert_close(stored.cameras[0].pose, camera().pose, rtol=0, atol=2e-3)
    assert stored.cameras[0].lens == camera().lens
    rotation = stored.cameras[0].pose[:, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3))


def test_seen_cells_come_back(tmp_path):
    run = distance_run(tmp_path / "run", layer="dense")
    run.seen.look(torch.full((8, 8), 2.0), torch.tensor([8.0, 8.0, 4.0, 4.0]), camera().pose)
    _, stored = full(run)
    assert stored.seen is not None and bool(run.seen.open_cells().any())
    assert stored.seen.surface_cells().equal(run.seen.surface_cells())
    assert stored.seen.open_cells().equal(run.seen.open_cells())


def test_the_same_content_has_the_same_bytes(tmp_path):
    draft, _ = full(radiance_run(tmp_path / "run", layer="prp"))
    assert draft.encode() == draft.encode()


def test_random_matrices_are_not_stored(tmp_path):
    draft, stored = full(radiance_run(tmp_path / "run", layer="prp", layer_width=64, num_layers=4))
    hidden = [name for name in draft.numbers if name.startswith(("trunk.1.", "trunk.2.", "trunk.3."))]
    assert hidden and all(draft.numbers[name].dim() == 1 for name in hidden)
    assert isinstance(stored.field, NeRFField)


@pytest.mark.parametrize("regime, codes, words", [
    ("unbounded", 0, "without bounds"), ("bounded", 4, "appearance code"),
])  # fmt: skip
def test_runs_that_cannot_be_stored_say_what_would_do(regime, codes, words, tmp_path):
    config = MipNeRFModelConfig(size="tiny", regime=regime, appearance_dim=codes, num_layers=1, layer_width=8)
    field = config.build_field(BOX, num_images=2)
    run = RadianceRun(
        tmp_path, "eugen-mipnerf-tiny", 1, config, field, BOX, torch.eye(4).double(), config.build_grid(BOX)
    )
    with pytest.raises(InputError, match=words) as error:
        draft_of(run)
    assert "eugen-nerf-tiny" in error.value.message


def test_hash_grids_are_refused(tmp_path):
    config = PlanesModelConfig(size="tiny", regime="bounded")
    field = config.build_field(BOX, num_images=2)
    field.position_encoding = torch.nn.Identity()  # stands for what is not there without CUDA
    run = RadianceRun(tmp_path, "planes", 1, config, field, BOX, torch.eye(4).double(), config.build_grid(BOX))
    with pytest.raises(InputError, match="hash grid"):
        draft_of(run)


def test_vanilla_networks_are_refused(tmp_path):
    config = NeRFModelConfig(architecture="vanilla", layer="dense")
    run = RadianceRun(
        Path(tmp_path),
        "eugen-nerf",
        1,
        config,
        config.build_field(BOX),
        BOX,
        torch.eye(4).double(),
        config.build_grid(BOX),
    )
    with pytest.raises(InputError, match="vanilla"):
        draft_of(run)
