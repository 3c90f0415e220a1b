"""ns-train of a map watched in headless Chromium: mesh and slice of a small box room grow in the page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.browser import artefacts, needs_browser, pixels_of, wait_for, watch
from support.depth_recordings import write_transforms

pytestmark = needs_browser


def mesh_share(path: Path) -> float:
    """How much of the scene's part of a page is mesh (bluish grey). The render is warm grey on white, and so is an
    empty page."""
    pixels = pixels_of(path)
    bluish = pixels[..., 2] - pixels[..., 0]
    return float(((bluish > 12) & (bluish < 50) & (pixels[..., 2] < 225)).mean())


def shows_mesh(path: Path) -> bool:
    """More of it than the first frame makes."""
    return mesh_share(path) > 0.08


@pytest.mark.slow
def test_the_page_shows_the_growing_map(tmp_path: Path) -> None:
    train = [
        sys.executable, "-m", "nerfstudio.scripts.train", "eugen-isdf-tiny",
        "--data", str(write_transforms(tmp_path / "room", count=30)), "--output-dir", str(tmp_path / "runs"),
        "--max-num-iterations", "100000", "--vis", "viewer", "--pipeline.datamanager.first-frame-steps", "30",
        "--pipeline.datamanager.steps-per-frame", "3", "--pipeline.datamanager.steps-per-keyframe", "6",
    ]  # fmt: skip
    screenshot = artefacts(tmp_path) / "growing_map.png"

    def use_panel(page: Any, take: Callable[[], bool]) -> None:
        """The slider lifts the slice out of the mesh; the boxes hide both."""

        def blue() -> float:
            """How much is blue, as free space in the slice and parts of the mesh are."""
            take()
            pixels = pixels_of(screenshot)
            return float((pixels[..., 2] - pixels[..., 0] > 25).mean())

        slider = page.get_by_role("slider").first
        slider.focus()
        before = blue()
        for _ in range(85):
            slider.press("ArrowRight")  # a centimetre each
        wait_for(lambda: blue() > before + 0.02, 120, f"the slice lifted in {screenshot}")
        page.get_by_label("Mesh", exact=True).uncheck(force=True)
        wait_for(lambda: take() is False and mesh_share(screenshot) < 0.06, 60, f"no mesh in {screenshot}")
        left = blue()
        assert left > 0.015, "the slice stays"
        page.get_by_label("Slice", exact=True).uncheck(force=True)
        wait_for(lambda: blue() < left / 3, 60, f"no slice in {screenshot}")

    watch(train, shows_mesh, screenshot, use_panel)
