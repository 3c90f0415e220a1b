"""ns-train of a map watched in headless Chromium: mesh and slice of a small box room grow in the page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import artefacts, needs_browser, pixels_of, wait_for, watch
from depth_recordings import write_transforms

pytestmark = needs_browser


def shares(path: Path) -> tuple[float, float]:
    """How much of the scene's part of a page is mesh (bluish grey) and slice (blue). The render is warm grey on white,
    and so is an empty page."""
    pixels = pixels_of(path)
    bluish = pixels[..., 2] - pixels[..., 0]
    mesh = (bluish > 12) & (bluish < 50) & (pixels[..., 2] < 225)
    return float(mesh.mean()), float((bluish > 55).mean())


def shows_mesh(path: Path) -> bool:
    """More of it than the first frame makes."""
    return shares(path)[0] > 0.08


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

        def share(place: int) -> float:
            take()
            return shares(screenshot)[place]

        slider = page.get_by_role("slider").first
        slider.focus()
        for _ in range(85):
            slider.press("ArrowRight")  # a centimetre each
        wait_for(lambda: share(1) > 0.02, 120, f"the slice in {screenshot}")
        # where the slice fades into white it is as bluish as the mesh
        for place, (label, rest) in enumerate({"Mesh": 0.035, "Slice": 0.005}.items()):
            page.get_by_label(label, exact=True).uncheck(force=True)
            wait_for(lambda place=place, rest=rest: share(place) < rest, 60, f"no {label} in {screenshot}")

    watch(train, shows_mesh, screenshot, use_panel)
