"""The page in headless Chromium: two browsers at once, every mode another picture, the split, new checkpoints."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
from support.view_browser import CHROMIUM, browsing, serving, settled, wait_for
from support.view_helpers import write_run

from eugen_viewer.pictures.pictures import MODES

pytestmark = [
    pytest.mark.slow,  # pages are waited for: on a busy machine for too long
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)"),
]


def test_two_browsers_see_their_own_pictures(tmp_path):
    with serving(write_run(tmp_path / "run")) as viewer, browsing(viewer) as browser:
        first, panel = browser.open()
        second, other = browser.open()
        pictures = {mode: None for mode in MODES}
        for mode in MODES:
            panel.mode.value = mode
            pictures[mode] = settled(first, panel)
        assert all(picture.shape[0] == 128 and picture.std() > 5 for picture in pictures.values())
        for mode, picture in pictures.items():
            others = [pictures[name] for name in MODES if name != mode]
            assert min(np.abs(picture - one).mean() for one in others) > 2, mode
        assert other.mode.value == "rgb"
        assert np.abs(settled(second, other) - pictures["rgb"]).mean() < 1
        shot = np.frombuffer(second.screenshot(), np.uint8)
        assert len(shot) > 1000
        assert "rows" not in first.content() or panel.live.timing.still is not None
        first.close()
        wait_for(second, lambda: len(viewer.panels) == 1, "the first browser to be forgotten")


def test_the_camera_changes_the_picture(tmp_path):
    with serving(write_run(tmp_path / "run")) as viewer, browsing(viewer) as browser:
        page, panel = browser.open()
        before = settled(page, panel)
        position = np.array(panel.stage.client.camera.position)
        page.mouse.move(300, 300)
        page.mouse.down()
        page.mouse.move(420, 320, steps=5)
        page.mouse.up()
        wait_for(page, lambda: np.abs(panel.stage.client.camera.position - position).max() > 0.1, "the camera")
        page.wait_for_timeout(300)
        assert np.abs(settled(page, panel) - before).mean() > 1


def test_the_split_shows_one_run_left_and_the_other_right(tmp_path):
    runs = write_run(tmp_path / "a"), write_run(tmp_path / "b", "isdf")
    with serving(*runs) as viewer, browsing(viewer) as browser:
        page, panel = browser.open()
        pictures = []
        for share in (0.0, 0.5, 1.0):
            panel.split.value = share
            pictures.append(settled(page, panel))
        right, both, left = pictures
        half = both.shape[1] // 2
        assert np.abs(left - right).mean() > 2
        assert np.abs(both[:, : half - 3] - left[:, : half - 3]).mean() < 0.5
        assert np.abs(both[:, half + 3 :] - right[:, half + 3 :]).mean() < 0.5
        assert "Left:" in page.content() and "Right:" in page.content()


def test_new_checkpoints_are_followed_and_damaged_ones_are_not(tmp_path):
    folder = write_run(tmp_path / "run")
    checkpoints = folder / "nerfstudio_models"
    with serving(folder) as viewer, browsing(viewer) as browser:
        page, panel = browser.open()
        before = settled(page, panel)
        (checkpoints / "step-000000300.ckpt").write_bytes(b"half")
        page.wait_for_timeout(1500)
        assert viewer.runs[0].shown.run.step == 100
        newer = write_run(tmp_path / "newer", steps=(400,), seed=1)
        shutil.copy(newer / "nerfstudio_models" / "step-000000400.ckpt", checkpoints / "part")
        (checkpoints / "part").rename(checkpoints / "step-000000400.ckpt")
        wait_for(page, lambda: viewer.runs[0].shown.run.step == 400, "the new checkpoint")
        wait_for(page, lambda: np.abs(settled(page, panel) - before).mean() > 0.2, "its picture")
        wait_for(page, lambda: page.get_by_text("400", exact=True).count(), "its step on the card")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("eugen-view")]
