"""What nerfstudio's viewer is given of a field of density and colour, with solids that are known in closed form."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.browser import free_port, wait_for
from support.fake_page import Page, make_viewer
from support.shape_runs import SolidDensity, density_run, true_colors
from torch import Tensor

from eugen_fields.errors import InputError
from eugen_fields.live import radiance_view
from eugen_fields.live.radiance_view import RadianceView
from eugen_fields.live.slices import density_colors
from eugen_fields.live.snapshot import snapshot
from eugen_fields.models.nerf import NeRFModelConfig

FOLDER = Path("outputs/solid/solid-method/time")
SETTINGS = NeRFModelConfig(grid_resolution=32)
CUBE = torch.tensor([[-1.0] * 3, [1.0] * 3])


class Fog(SolidDensity):
    """Nothing opaque anywhere."""

    def density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(positions[:, 0], 1e-3), positions


def make_model(field: Any, grid: Any, config: NeRFModelConfig = SETTINGS) -> Any:
    """A stand-in for a model in training."""
    if not hasattr(field, "trunk"):
        field.trunk = SimpleNamespace(replace=(), multiplications=lambda: 1234)
    return SimpleNamespace(
        field=field,
        grid=grid,
        config=config,
        device=torch.device("cpu"),
        networks=lambda: {"field": field},
    )


def make_view(field: Any = None, grid: Any = None, config: NeRFModelConfig = SETTINGS) -> tuple[RadianceView, Page]:
    """A view of a ball that is set up, its resolution low, without a thread that updates it."""
    if field is None:
        ball = density_run("sphere", FOLDER)
        field, grid = ball.field, ball.grid
    page = Page()
    page.clients = {0: None}
    viewer = make_viewer(page)
    viewer.log_filename = FOLDER / "viewer_log.txt"
    view = RadianceView(make_model(field, grid, config))
    view._setup(viewer)
    page.shown["Mesh resolution"].value = "64"
    return view, page


def press(view: RadianceView, page: Page) -> str:
    """Presses the button and waits; the sentence below it."""
    page.shown["Extract mesh"].callback(None)
    view._extractor.join(timeout=120)
    assert not view._extractor.is_alive()
    return view._status.content


def test_the_mesh_is_the_surface_in_its_colours_in_viewer_units() -> None:
    view, page = make_view()
    said = press(view, page)
    shown = page.shown["/field/mesh"]
    mesh, scale = shown.mesh, shown.scale
    assert scale == 10.0
    points = torch.tensor(mesh.vertices).float()
    field: Any = view.model.field
    assert field.distance(points).abs().max() < 0.02
    light = mesh.visual.vertex_attributes["color"][:, :3] / 255.0  # linear, as glTF has it
    assert np.abs(light - true_colors(points).numpy() ** 2.2).max() < 0.06
    assert f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces of step 70" in said
    assert shown.visible and page.shown["Mesh"].value
    assert not page.shown["progress"].visible and not page.shown["Extract mesh"].disabled


def test_the_page_gets_the_mesh_that_is_exported(tmp_path: Path) -> None:
    view, page = make_view()
    press(view, page)
    exported, _ = radiance_view.build_mesh(
        density_run("sphere", tmp_path), progress=False, resolution=64, frame="training"
    )
    shown = page.shown["/field/mesh"].mesh
    assert len(shown.vertices) == len(exported.vertices) and len(shown.faces) == len(exported.faces)
    np.testing.assert_allclose(shown.vertices, exported.vertices, atol=1e-6)


def test_what_the_field_is_now_is_shown_not_what_it_was() -> None:
    view, page = make_view()
    press(view, page)
    before = page.shown["/field/mesh"].mesh
    box = density_run("box", FOLDER)
    view.model = make_model(box.field, box.grid)
    press(view, page)
    assert len(page.shown["/field/mesh"].mesh.vertices) != len(before.vertices)


def test_the_box_hides_the_mesh_and_the_render_covers_nothing_that_is_shown() -> None:
    view, page = make_view()
    composite = view.viewer.control_panel._layer_depth
    assert composite.value
    press(view, page)
    assert not composite.value
    page.shown["Mesh"].value = False
    view.update()
    assert not page.shown["/field/mesh"].visible and composite.value
    page.shown["Mesh"].value = True
    view.update()
    assert page.shown["/field/mesh"].visible and not composite.value
    composite.value = True  # as a person can
    view.update()
    assert composite.value


def test_weights_are_copied_between_two_steps() -> None:
    config = NeRFModelConfig(layer="dense", num_layers=3, layer_width=32, color_width=16, skip_connections=())
    field, grid = config.build_field(CUBE), config.build_grid(CUBE)
    model, lock, stop = make_model(field, grid), threading.Lock(), threading.Event()

    def train() -> None:
        step = 0
        while not stop.is_set():
            step += 1
            with lock, torch.no_grad():
                for values in field.parameters():
                    values.fill_(float(step % 1000))
                grid.density.fill_(float(step % 1000))

    training = threading.Thread(target=train)
    training.start()
    try:
        for _ in range(20):
            run = snapshot(model, FOLDER, lambda: 1, lock)
            parts = [part for name, part in run.field.state_dict().items() if name != "aabb"]
            (value,) = torch.cat([part.flatten() for part in (*parts, run.grid.density)]).unique().tolist()
            assert not lock.locked() or training.is_alive()
    finally:
        stop.set()
        training.join()
    assert value > 0
    assert all(weights.requires_grad for weights in field.parameters()), "the model goes on training"


def test_the_field_of_a_scene_without_bounds_is_looked_for_in_its_box() -> None:
    view, page = make_view(SolidDensity("sphere", bounded=False), grid=None)
    said = press(view, page)
    assert "vertices" in said
    points = page.shown["/field/mesh"].mesh.vertices
    assert np.abs(points).max() <= 1.0


def test_where_nothing_is_opaque_the_page_says_so() -> None:
    fog = Fog("sphere")
    view, page = make_view(fog, SETTINGS.build_grid(CUBE))
    said = press(view, page)
    assert "No mesh" in said and "step 70" in said and "0.001" in said
    assert "/field/mesh" not in page.shown and not page.shown["progress"].visible


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), InputError("out of memory")])
def test_errors_are_shown_and_another_try_is_possible(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    view, page = make_view()
    with monkeypatch.context() as patch:
        patch.setattr(radiance_view, "build_mesh", fail)
        said = press(view, page)
    assert "No mesh" in said and "out of memory" in said
    assert not page.shown["Extract mesh"].disabled and not page.shown["progress"].visible
    assert "vertices" in press(view, page)


def test_one_mesh_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    view, page = make_view()
    entered, go_on, calls = threading.Event(), threading.Event(), []

    def wait(*_: Any, **__: Any) -> None:
        calls.append(1)
        entered.set()
        go_on.wait(60)
        raise RuntimeError

    monkeypatch.setattr(radiance_view, "build_mesh", wait)
    page.shown["Extract mesh"].callback(None)
    assert entered.wait(60)
    assert page.shown["Extract mesh"].disabled and page.shown["progress"].visible
    first = view._extractor
    page.shown["Extract mesh"].callback(None)
    assert view._extractor is first
    go_on.set()
    first.join(timeout=60)
    assert len(calls) == 1


def test_a_mesh_that_is_being_made_does_not_keep_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    view, page = make_view()
    entered = threading.Event()

    def endless(*_: Any, progress: Any, **__: Any) -> None:
        entered.set()
        while True:
            progress("Finding the surface", 0.5)
            time.sleep(0.01)

    monkeypatch.setattr(radiance_view, "build_mesh", endless)
    view.viewer.init_scene()  # type: ignore[call-arg]
    page.shown["Extract mesh"].callback(None)
    assert entered.wait(60)
    start = time.monotonic()
    view._stop()
    assert time.monotonic() - start < 10
    assert not view._extractor.is_alive() and not view._worker.is_alive()


def test_meshes_draw_nothing_from_the_random_numbers_of_training() -> None:
    view, page = make_view()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    press(view, page)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # type: ignore[index, arg-type]


def test_the_card_says_what_the_layers_are() -> None:
    config = NeRFModelConfig(num_layers=4, layer_width=32, color_width=16, num_features=8, replace=(1, 3))
    view, page = make_view(config.build_field(CUBE), config.build_grid(CUBE), config)
    card = page.shown["card"].content
    for part in ("**Layers** eugen (layers 1, 3), 8 features", "**Parameters**", "**Multiplications per sample**"):
        assert part in card, card
    field = view.model.field
    stored = sum(values.nbytes for values in field.state_dict().values())
    assert f"{sum(values.numel() for values in field.parameters()):,}" in card and f"{stored:,} bytes" in card
    assert "**step** 70" in card
    view.viewer.trainer.step = 1071  # type: ignore[union-attr]
    view.update()
    assert "**step** 1,071" in page.shown["card"].content


def test_the_card_follows_layers_that_are_of_another_kind_since() -> None:
    config = NeRFModelConfig(num_layers=3, layer_width=32, color_width=16, num_features=8, dense_start=0.2)
    config.skip_connections = ()
    field, later = config.dense_phase().build_field(CUBE), config.build_field(CUBE)
    view, page = make_view(field, config.build_grid(CUBE), config)
    assert "**Layers** dense  \n" in page.shown["card"].content
    field.set_trunk(later.trunk)
    view.update()
    card = page.shown["card"].content
    assert "**Layers** eugen (layers 1, 2), 8 features" in card
    assert f"{sum(values.numel() for values in later.parameters()):,}" in card


def test_the_slice_is_opaque_where_the_ball_is() -> None:
    view, page = make_view()
    view.update()
    assert "/field/slice" not in page.shown, "it costs time, so it is off until it is asked for"
    page.shown["Slice"].value = True
    page.shown["Slice height"].value = 0.2
    view.update()
    shown = page.shown["/field/slice"]
    np.testing.assert_allclose(shown.position, (0.0, 0.0, 2.0), atol=1e-5)
    assert shown.render_width == pytest.approx(20.0)
    places = (np.arange(160) + 0.5) / 80 - 1.0
    x, y = np.meshgrid(places, places)
    field: Any = view.model.field
    points = torch.tensor(np.stack([x, y, np.full_like(x, 0.2)], axis=-1)).float()
    distance = field.distance(points.view(-1, 3)).view(160, 160).numpy()
    alpha = shown.image[..., 3]
    assert (alpha[distance < 0.0] == 255).all() and (alpha[distance > 0.1] == 0).all()


def test_denser_is_brighter() -> None:
    image = density_colors(torch.logspace(-2, 4, 61)[None], 0.1, 1000.0)[0].astype(int)
    brightness = image[:, :3].sum(axis=1)
    assert (np.diff(brightness) >= -2).all() and brightness[0] < 20 and brightness[-1] > 500
    assert (image[:9, 3] == 0).all() and (image[11:, 3] == 255).all()
    steps = np.diff(brightness)[10:50]
    assert (steps > 0).all() and (image[51:] == image[51]).all()


@pytest.mark.e2e
def test_a_button_pressed_in_a_real_training_gives_a_mesh_and_the_training_ends(
    sphere_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eugen_fields.benchmark.quality.train import make_config, train_run

    meshes, steps = [], []
    build_mesh = radiance_view.build_mesh

    def recorded(*arguments: Any, **options: Any) -> Any:
        made = build_mesh(*arguments, **options)
        meshes.append(made[0])
        return made

    monkeypatch.setattr(radiance_view, "build_mesh", recorded)
    small = {"grid_warmup_steps": 60, "grid_resolution": 32, "num_layers": 2, "layer_width": 64, "feature_dim": 16}
    config = make_config("eugen-nerf-tiny", sphere_scene, tmp_path, steps=250, model_options=small, viewer=True)
    config.viewer.websocket_host, config.viewer.websocket_port = "127.0.0.1", free_port()
    config.pipeline.target_num_samples = 2048  # type: ignore[attr-defined]
    config.optimizers["fields"]["scheduler"].warmup_steps = 20  # type: ignore[attr-defined]
    said = []

    def watch(trainer: Any) -> None:
        view: RadianceView = trainer.pipeline.field_view

        def person() -> None:
            for step in (3, 180):
                wait_for(lambda step=step: trainer.step >= step, 240, f"step {step}")
                view._resolution.value = "64"
                view.extract()
                view._extractor.join(timeout=240)
                said.append(view._status.content)
            steps.append(trainer.step)

        threading.Thread(target=person, daemon=True).start()

    trainer, _ = train_run(config, progress=False, started=watch)
    wait_for(lambda: len(said) == 2, 120, "both meshes")
    trainer.viewer_state.viser_server.stop()  # type: ignore[union-attr]
    assert trainer.step == 249 and trainer.training_state == "completed"
    assert "No mesh" in said[0] or "vertices" in said[0], said
    assert "vertices" in said[1], said
    aabb = trainer.pipeline.model.field.aabb.numpy()  # type: ignore[union-attr]
    points = meshes[-1].vertices
    assert (points >= aabb[0] - 1e-5).all() and (points <= aabb[1] + 1e-5).all()
    # the ball of the scene has a radius of 0.8
    assert abs(float(np.median(np.linalg.norm(points, axis=1))) - 0.8) < 0.2
