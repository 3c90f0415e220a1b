"""The controls of the page in headless Chromium: cameras, mesh, crop box, downloads."""

from __future__ import annotations

import imageio.v3 as iio
import numpy as np
import pytest
from support.view_browser import CHROMIUM, browsing, serving, settled, wait_for
from support.view_helpers import write_run

from eugen_viewer.pictures.pictures import ERROR

pytestmark = [
    pytest.mark.slow,  # pages are waited for: on a busy machine for too long
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)"),
]


def test_cameras_are_shown_and_looked_through(tmp_path, sphere_scene):
    with serving(write_run(tmp_path / "run", data=sphere_scene)) as viewer, browsing(viewer) as browser:
        page, panel = browser.open()
        before = settled(page, panel)
        panel.mode.value = ERROR
        assert np.abs(settled(page, panel) - before).mean() > 5
        wait_for(page, lambda: len(panel.cameras.frusta) == 12, "the frusta")
        page.get_by_role("tab", name="Cameras").click()
        panel.cameras.index.value = 5
        page.get_by_role("button", name="Look through this camera").click()
        goal = viewer.photos.view(5)
        wait_for(page, lambda: np.abs(panel.stage.view().pose - goal.pose).max() < 1e-3, "the view")
        wait_for(page, lambda: not panel.cameras.frusta[5].visible, "the camera at the eye to be hidden")
        assert panel.cameras.frusta[4].visible
        page.get_by_label("Show cameras").uncheck()
        wait_for(page, lambda: not panel.cameras.frusta[4].visible, "all cameras to be hidden")


def test_a_mesh_is_laid_over_and_a_box_crops(tmp_path):
    with serving(write_run(tmp_path / "run")) as viewer, browsing(viewer) as browser:
        page, panel = browser.open()
        before = settled(page, panel)
        page.get_by_role("tab", name="Shape").click()
        panel.shape.crop.value = True
        panel.shape.sides[2].value = (-1.0, 0.0)
        wait_for(page, lambda: panel.live.look.crop == ((-1.0, -1.0, -1.0), (1.0, 1.0, 0.0)), "the box")
        cropped = settled(page, panel)
        assert (cropped.min(axis=-1) < 200).sum() < 0.8 * (before.min(axis=-1) < 200).sum()
        panel.shape.resolution.value = 32
        page.get_by_role("button", name="Extract mesh").click()
        wait_for(page, lambda: "triangles" in panel.shape.mesh_counts.content, "the mesh")
        assert panel.stage.overlays == {"mesh"}


def test_screenshots_and_turntables_are_downloaded(tmp_path):
    with serving(write_run(tmp_path / "run")) as viewer, browsing(viewer) as browser:
        page, panel = browser.open()
        picture = settled(page, panel)
        page.get_by_role("tab", name="Save").click()
        with page.expect_download(timeout=30_000) as download:
            page.get_by_role("button", name="Screenshot").click()
        assert download.value.suggested_filename == "eugen-nerf-tiny-100.png"
        assert np.array_equal(iio.imread(download.value.path()), picture)
        panel.save.rows.value, panel.save.frames.value, panel.save.kind.value = 64, 8, "gif"
        with page.expect_download(timeout=30_000) as download:
            page.get_by_role("button", name="Turntable").click()
        frames = iio.imread(download.value.path(), extension=".gif")
        assert len(frames) == 8 and frames.shape[1] == 64
        assert np.abs(frames[0].astype(int) - frames[4]).mean() > 1
