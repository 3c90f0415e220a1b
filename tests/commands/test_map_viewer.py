"""ns-train of a map watched in headless Chromium: mesh and slice of a small box room grow in the page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

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


def shows_map(path: Path) -> bool:
    mesh, slice_ = shares(path)
    print(f"mesh {mesh:.4f} slice {slice_:.4f}")
    return mesh > 0.04 and slice_ > 0.02


def test_the_page_shows_the_growing_map(tmp_path: Path) -> None:
    train = [
        sys.executable, "-m", "nerfstudio.scripts.train", "eugen-isdf-tiny",
        "--data", str(write_transforms(tmp_path / "room", count=40)), "--output-dir", str(tmp_path / "runs"),
        "--max-num-iterations", "100000", "--vis", "viewer", "--pipeline.datamanager.first-frame-steps", "30",
        "--pipeline.datamanager.steps-per-frame", "4", "--pipeline.datamanager.steps-per-keyframe", "8",
    ]  # fmt: skip
    screenshot = artefacts(tmp_path) / "growing_map.png"

    def hide_and_show(page: Any, passes: Any) -> None:
        """The boxes "Mesh" and "Slice" do what they say."""
        for label, place in (("Mesh", 0), ("Slice", 1)):
            box = page.get_by_label(label, exact=True)
            box.uncheck(force=True)

            def hidden(place: int = place) -> bool:
                passes()
                return shares(screenshot)[place] < 0.01

            wait_for(hidden, 60, f"no {label} in {screenshot}")

    watch(train, shows_map, screenshot, hide_and_show)
