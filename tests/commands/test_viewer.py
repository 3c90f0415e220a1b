"""ns-train and ns-viewer watched in headless Chromium: the page shows the object from a training pose."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import BIN, PROJECT, write_capture_scene
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
]  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)")


def wait_for(condition, seconds: float, what: str):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s for {what}")


def pixels_of(path: Path) -> np.ndarray:
    """The part of a screenshot that holds the scene, without the page's panels: integers, shape (H, W, 3)."""
    return np.asarray(Image.open(path).convert("RGB")).astype(int)[100:-60, 60:-360]


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


def watch(command: list[str], is_shown: Callable[[Path], bool], screenshot: Path, seconds: float = 240) -> None:
    """Starts a command that serves nerfstudio's viewer, opens its page and waits until a screenshot passes."""
    from playwright.sync_api import sync_playwright

    printed: list[str] = []
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    assert process.stdout is not None
    reader = threading.Thread(target=printed.extend, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        address = wait_for(
            lambda: re.search(r"http://127\.0\.0\.1:\d+", "".join(printed)), 120, "the viewer's address"
        )[0]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
            page = browser.new_page(viewport={"width": 1200, "height": 800})
            page.goto(address, wait_until="domcontentloaded", timeout=60_000)

            def passes() -> bool:
                page.screenshot(path=screenshot, timeout=60_000)
                return is_shown(screenshot)

            wait_for(passes, seconds, f"the object in {screenshot}\n{''.join(printed)[-2000:]}")
            browser.close()
        assert process.poll() is None, "the command must go on while it is watched"
        assert "Traceback" not in "".join(printed), "".join(printed)[-3000:]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """A loopback port that nothing listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def artefacts(tmp_path: Path) -> Path:
    """Where screenshots go: EUGEN_TEST_ARTEFACTS keeps them."""
    return Path(os.environ.get("EUGEN_TEST_ARTEFACTS", tmp_path))


def test_training_shows_the_forming_object(tmp_path: Path) -> None:
    train = [
        str(BIN / "ns-train"), "eugen-nerf-tiny", "--data", str(PROJECT / "scenes" / "hotdog"),
        "--output-dir", str(tmp_path), "--max-num-iterations", "100000", "--vis", "viewer",
        "--viewer.num-rays-per-chunk", "4096",
    ]  # fmt: skip
    watch(train, shows_hotdog, artefacts(tmp_path) / "live_training.png")


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
