"""The page in headless Chromium: two browsers at once, every mode another picture, the split, new checkpoints."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from view_helpers import write_run

from eugen_viewer.app import Viewer
from eugen_viewer.pictures import MODES

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
]  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)")


@contextmanager
def serving(*folders, **options):
    viewer = Viewer(folders, device="cpu", **options)
    try:
        yield viewer
    finally:
        viewer.close()


class Browser:
    """Headless Chromium whose pages note what went wrong in them."""

    def __init__(self, playwright, viewer: Viewer) -> None:
        self.browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        self.viewer = viewer
        self.errors: list[str] = []

    def open(self):
        """A page, and the panel that the server has for it."""
        before = set(self.viewer.panels)
        page = self.browser.new_page(viewport={"width": 900, "height": 600})
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note)
        page.goto(f"http://127.0.0.1:{self.viewer.port}", wait_until="domcontentloaded", timeout=60_000)
        (number,) = wait_for(page, lambda: set(self.viewer.panels) - before, "a panel")
        panel = self.viewer.panels[number]
        panel.height.value = 128
        aspect = 0.0
        while aspect != panel.stage.client.camera.aspect:  # until the page has laid itself out
            aspect = panel.stage.client.camera.aspect
            page.wait_for_timeout(700)
        return page, panel

    def _note(self, message) -> None:
        # viser's own, on an empty page too: a script of a statistics service, and lines before the first layout
        own = "net::ERR_" in message.text or "Computed radius is NaN" in message.text
        if message.type == "error" and not own:
            self.errors.append(message.text)


@contextmanager
def browsing(viewer: Viewer):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = Browser(playwright, viewer)
        yield browser
        browser.browser.close()
        assert browser.errors == []


def wait_for(page, condition, what: str, seconds: float = 30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        page.wait_for_timeout(50)
    raise AssertionError(f"waited {seconds} s for {what}")


def settled(page, panel) -> np.ndarray:
    """The picture of a page at rest, (height, width, 3)."""

    def is_current() -> bool:
        look = panel.live.look
        return (look.mode, look.split) == (panel.mode.value, panel.split.value) and panel.live.finished.is_set()

    wait_for(page, is_current, "a picture")
    return panel.live.last[0].astype(int)


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
