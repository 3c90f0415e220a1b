"""eugen-view served to headless Chromium, for the tests of its page."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager

import numpy as np

from eugen_viewer.app import Viewer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
]  # fmt: skip


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
        last = None
        while last != (camera := (panel.stage.client.camera.aspect, *panel.stage.client.camera.position)):
            last = camera  # until the page has laid itself out
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
