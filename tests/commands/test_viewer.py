"""ns-train and ns-viewer watched in headless Chromium: the page shows the object from a training pose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.browser import artefacts, free_port, needs_browser, pixels_of, watch
from support.helpers import BIN, PROJECT, write_capture_scene

pytestmark = needs_browser


def shows_hotdog(path: Path) -> bool:
    """Whether there are enough warm-coloured pixels beside a white background."""
    pixels = pixels_of(path)
    warm = (pixels[..., 0] > pixels[..., 2] + 70) & (pixels[..., 0] > 90)
    white = pixels.min(axis=-1) > 235
    return bool(warm.mean() > 0.08 and white.mean() > 0.4)


def shows_sphere(path: Path) -> bool:
    """Whether there is a sphere that is blue above and red below (helpers.sphere_image) on white."""
    pixels = pixels_of(path)
    above, below = np.array_split(pixels, 2)
    blue = (above[..., 2] > above[..., 0] + 60).mean()
    red = (below[..., 0] > below[..., 2] + 60).mean()
    white = pixels.min(axis=-1) > 235
    return bool(blue > 0.03 and red > 0.03 and white.mean() > 0.3)


def test_training_shows_the_forming_object(tmp_path: Path) -> None:
    train = [
        str(BIN / "ns-train"), "eugen-nerf-tiny", "--data", str(PROJECT / "scenes" / "hotdog"),
        "--output-dir", str(tmp_path), "--max-num-iterations", "100000", "--vis", "viewer",
        "--viewer.num-rays-per-chunk", "4096",
    ]  # fmt: skip
    watch(train, shows_hotdog, artefacts(tmp_path) / "live_training.png")


@pytest.mark.slow
def test_training_shows_a_forming_capture_without_bounds(tmp_path: Path) -> None:
    """Every ray of it costs samples: frames of nerfstudio's 512 pixels would hold up training for most of the time."""
    scene = write_capture_scene(tmp_path / "capture", size=32)
    train = [
        str(BIN / "ns-train"), "eugen-mipnerf-tiny", "--data", str(scene), "--output-dir", str(tmp_path),
        "--max-num-iterations", "100000", "--vis", "viewer", "--pipeline.target-num-samples", "6144",
        "nerfstudio-data", "--eval-mode", "all",
    ]  # fmt: skip
    watch(train, shows_sphere, artefacts(tmp_path) / "live_capture.png", seconds=480)


def test_ns_viewer_shows_a_finished_run(trained_run: Path, tmp_path: Path) -> None:
    view = [
        str(BIN / "ns-viewer"), "--load-config", str(trained_run / "config.yml"),
        "--viewer.websocket-host", "127.0.0.1", "--viewer.websocket-port-default", str(free_port()),
    ]  # fmt: skip
    watch(view, shows_sphere, artefacts(tmp_path) / "finished_run.png")
