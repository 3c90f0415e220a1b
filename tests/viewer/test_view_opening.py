"""eugen-view's page as it opens, without a click: the subject, the cameras, the curves and the card."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from support.view_browser import CHROMIUM, browsing, serving, settled, wait_for
from support.view_helpers import write_run
from torch.utils.tensorboard import SummaryWriter

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)"),
]
PANEL = 384
"""Pixels at the right of the page that the controls take."""


def seen_pixels(page) -> np.ndarray:
    """The page without its controls, integers, shape (H, W, 3)."""
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    return pixels[:, :-PANEL]


def test_the_page_opens_on_the_subject_with_cameras_curves_and_card(tmp_path, sphere_scene):
    folder = write_run(tmp_path / "run", data=sphere_scene)
    with SummaryWriter(str(folder)) as writer:
        for step in range(5):
            writer.add_scalar("Train Metrics Dict/psnr", 20.0 + step, 20 * step)
    with serving(folder) as viewer, browsing(viewer) as browser:
        page, panel = browser.open()
        settled(page, panel)

        def subject() -> np.ndarray:
            return seen_pixels(page).min(axis=-1) < 230

        wait_for(page, lambda: subject()[200:400].mean() > 0.2, "the subject on the page")
        shown = subject()
        height, width = shown.shape
        middle = shown[height // 2 - 40 : height // 2 + 40, width // 2 - 40 : width // 2 + 40]
        assert middle.mean() > 0.95, "the subject is in the middle"
        edge = np.concatenate([shown[:, :8].ravel(), shown[:, -8:].ravel(), shown[-8:].ravel()])
        assert edge.mean() < 0.05, "the subject does not leave the page"

        wait_for(page, lambda: panel.cameras.frusta, "the frusta")
        wait_for(page, lambda: blue_pixels(page) > 40, "frusta on the page")
        picture = page.locator("img[alt=curves]")
        wait_for(page, lambda: picture.count() == 1 and picture.is_visible(), "the curves")
        for label in ("Method", "Training step", "Frame at rest"):
            wait_for(page, lambda label=label: page.get_by_text(label, exact=True).count(), f"{label!r} on the card")


def blue_pixels(page) -> int:
    """Pixels in the colour of the frusta's lines."""
    red, green, blue = np.moveaxis(seen_pixels(page), -1, 0)
    return int(((blue - red > 60) & (blue - green > 25) & (blue > 150)).sum())
