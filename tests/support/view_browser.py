"""eugen-view served to headless Chromium, for the tests of its page."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from eugen_viewer.app import Viewer
from support import browser
from support.browser import CHROMIUM

__all__ = ["CHROMIUM", "browsing", "serving", "settled", "wait_for"]

KNOWN_FAULTS = ("net::ERR_", "Computed radius is NaN")
"""viser's own, on an empty page too: a script of a statistics service, and lines before the first layout."""


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
        self.browser = browser.launch(playwright)
        self.viewer = viewer
        self.errors: list[str] = []

    def open(self):
        """A page, and the panel that the server has for it."""
        before = set(self.viewer.panels)
        address = f"http://127.0.0.1:{self.viewer.port}"
        page = browser.watched_page(self.browser, address, self.errors, 900, 600, KNOWN_FAULTS)
        (number,) = wait_for(page, lambda: set(self.viewer.panels) - before, "a panel")
        panel = self.viewer.panels[number]
        panel.height.value = 128
        last = None
        while last != (camera := (panel.stage.client.camera.aspect, *panel.stage.client.camera.position)):
            last = camera  # until the page has laid itself out
            page.wait_for_timeout(700)
        return page, panel


@contextmanager
def browsing(viewer: Viewer):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = Browser(playwright, viewer)
        yield chromium
        chromium.browser.close()
        assert chromium.errors == []


def wait_for(page, condition, what: str, seconds: float = 30):
    """As browser.wait_for, while the page goes on."""
    return browser.wait_for(condition, seconds, what, pause=lambda: page.wait_for_timeout(50))


def settled(page, panel) -> np.ndarray:
    """The picture of a page at rest, (height, width, 3)."""

    def is_current() -> bool:
        look = panel.live.look
        return (look.mode, look.split) == (panel.mode.value, panel.split.value) and panel.live.finished.is_set()

    wait_for(page, is_current, "a picture")
    return panel.live.last[0].astype(int)
