"""Web pages of field files in headless Chromium: opened, watched, and asked for their pictures."""

from __future__ import annotations

import math
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eugen_fields.storing.cameras import Camera
from eugen_fields.storing.loading import StoredField
from support import browser

SMALL = (32, 24, 1.0)


class Browser:
    """One Chromium for many pages. `requests` are what all of them asked for, `faults` what went wrong in them."""

    def __init__(self, chromium: Any) -> None:
        self.chromium = chromium
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.plain: Any = None

    @contextmanager
    def page(self, path: Path, way: str = "webgl2", size: tuple[int, int, float] = SMALL, init: str | None = None):
        """A page as it is once it draws, or has said why it does not.

        Args:
            way: webgl2, webgpu, or nothing: what the page chooses.
            size: width and height of the window, and pixels of the screen in each of its own: the fewer, the less is
                drawn before the first picture is asked for.
            init: a script that runs before those of the page.
        """
        with self.blank(size, init) as page:
            page.goto(path.as_uri() + (f"#{way}" if way else ""))
            stands = "document.body.classList.contains('stopped') || !!(globalThis.fieldPage && fieldPage.page)"
            browser.wait_for(lambda: page.evaluate(stands), 120, "the page", lambda: page.wait_for_timeout(20))
            yield page

    @contextmanager
    def blank(self, size: tuple[int, int, float] = SMALL, init: str | None = None):
        """An empty page; that of the usual size, without a script, is one for all, as most of a page's cost is its
        process."""
        if size != SMALL or init:
            page = self._new(*size)
            if init:
                page.add_init_script(init)
        else:
            self.plain = page = self.plain or self._new(*size)
        try:
            yield page
        finally:
            if page is self.plain:
                page.goto("about:blank")
            else:
                page.close()

    def _new(self, width: int, height: int, scale: float) -> Any:
        page = self.chromium.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))
        return page


@contextmanager
def browsing():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = browser.launch(playwright, *browser.WEBGPU_FLAGS)
        try:
            yield Browser(chromium)
        finally:
            chromium.close()


def rendered(page: Any, camera: Camera, mode: str = "colour") -> Tensor:
    """What a page draws of a camera, four numbers a pixel, shape (height, width, 4)."""
    axes = dict(zip(("right", "up", "back", "origin"), camera.pose.T.tolist()))
    lens = dict(zip(("width", "height", "fx", "fy", "cx", "cy"), (camera.width, camera.height, *camera.lens[2:])))
    values = page.evaluate("([camera, mode]) => fieldPage.render(camera, mode)", [axes | lens, mode])
    return torch.tensor(values).view(camera.height, camera.width, 4)


def over(values: Tensor, stored: StoredField) -> Tensor:
    """Colours over the background of the field, shape (height, width, 3)."""
    background = torch.tensor(stored.scene.background)
    return (values[..., :3] + (1.0 - values[..., 3:]) * background).clamp(0.0, 1.0)


def psnr(one: Tensor, other: Tensor) -> float:
    """dB between colours in [0, 1]; 200 for equal ones."""
    return -10.0 * math.log10(float((one - other).double().square().mean()) + 1e-20)


def sentence(page: Any) -> str:
    """What the page says where it draws nothing; empty where it says nothing."""
    return page.inner_text("#message") if page.is_visible("#message") else ""
