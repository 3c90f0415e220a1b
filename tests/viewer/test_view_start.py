"""The first view of a run has its subject in the page, whatever the run is of and whether its photos are there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.view_helpers import write_run

from eugen_viewer.opened import OpenedRun
from eugen_viewer.pictures.photos import find_photos
from eugen_viewer.start import find_subject

RADIUS = 0.6


def on_page(view, points: np.ndarray) -> np.ndarray:
    """Points in units of half the page's width and height, shape (N, 2)."""
    local = (points - view.position) @ view.pose[:, :3]
    assert (local[:, 2] < 0).all(), "ahead of the camera"
    half = -local[:, 2:] * np.tan(0.5 * view.fov) * np.array([view.aspect, 1.0])
    return local[:, :2] / half


def sphere_points() -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(500, 3))
    return RADIUS * points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.8])
@pytest.mark.parametrize("kind", ["nerf", "mipnerf"])
def test_an_object_is_in_the_page_and_fills_a_good_part_of_it(tmp_path, sphere_scene, kind, aspect):
    opened = OpenedRun(write_run(tmp_path / "run", kind, data=sphere_scene), "cpu")
    photos = find_photos(opened)
    for known in (photos, None):
        first = find_subject(opened.shown.run, known).framed(aspect)
        places = on_page(first.view, sphere_points())
        assert np.abs(places).max() < 1.0 and np.abs(places).max() > 0.35
        assert np.abs(on_page(first.view, first.center[None])).max() < 1e-6
        assert first.crop is None and first.view.pose[2, 1] > 0  # upright
    toward = find_subject(opened.shown.run, photos).framed(aspect).view.position
    toward = toward / np.linalg.norm(toward)
    directions = [photos.view(index).position for index in range(len(photos))]
    assert max(float(toward @ (one / np.linalg.norm(one))) for one in directions) > 0.95, "from where a photo was taken"


def test_an_empty_grid_shows_the_scene_box(tmp_path):
    run = OpenedRun(write_run(tmp_path / "run"), "cpu").shown.run
    run.grid.occupied[:] = False
    corners = np.array(np.meshgrid(*run.aabb.T.tolist())).reshape(3, -1).T
    assert np.abs(on_page(find_subject(run).framed(1.0).view, corners)).max() < 1.0


def test_a_room_is_seen_from_above_and_cut_below_its_ceiling(tmp_path):
    run = OpenedRun(write_run(tmp_path / "run", "isdf"), "cpu").shown.run
    surfaces, open_space = (torch.zeros(run.seen.shape, dtype=torch.bool) for _ in range(2))
    surfaces[:, :, 0] = surfaces[0] = surfaces[-1] = surfaces[:, :, -1] = True
    layers = run.seen.shape[2]
    open_space[4:-4, 4:-4, 2 : layers // 2] = True
    run.seen.surface_cells, run.seen.open_cells = lambda: surfaces, lambda: open_space
    first = find_subject(run).framed(1.0)
    assert first.crop is not None and abs(first.crop[1][2]) < 2 * run.seen.cell_size
    assert first.view.position[2] > 1.0 and first.view.pose[2, 2] > 0.8
    floor = np.array([[x, y, -1.0] for x in (-0.9, 0.9) for y in (-0.9, 0.9)])
    assert np.abs(on_page(first.view, floor)).max() < 1.0


def test_a_stream_that_has_seen_nothing_shows_the_scene_box(tmp_path):
    first = find_subject(OpenedRun(write_run(tmp_path / "run", "isdf"), "cpu").shown.run).framed(1.0)
    assert first.crop is None and np.isfinite(first.view.pose).all()
