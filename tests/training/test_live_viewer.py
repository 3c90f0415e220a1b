"""Live training watched in headless Chromium: the page shows the object from a training pose."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import BIN, PROJECT
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


def has_object(path: Path) -> bool:
    """Whether the middle of a screenshot shows the hot dog: enough warm-coloured pixels beside a white background."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)[100:-60, 60:-360]
    warm = (pixels[..., 0] > pixels[..., 2] + 70) & (pixels[..., 0] > 90)
    white = pixels.min(axis=-1) > 235
    return bool(warm.mean() > 0.08 and white.mean() > 0.4)


def test_the_page_shows_the_forming_object(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    printed: list[str] = []
    process = subprocess.Popen(
        [
            str(BIN / "ns-train"), "eugen-nerf-tiny", "--data", str(PROJECT / "scenes" / "hotdog"),
            "--output-dir", str(tmp_path), "--max-num-iterations", "100000", "--vis", "viewer",
            "--viewer.num-rays-per-chunk", "4096",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    reader = threading.Thread(target=lambda: printed.extend(process.stdout), daemon=True)
    reader.start()
    try:
        address = wait_for(
            lambda: re.search(r"http://127\.0\.0\.1:\d+", "".join(printed)), 120, "the viewer's address"
        )[0]
        screenshot = Path(os.environ.get("EUGEN_TEST_ARTEFACTS", tmp_path)) / "live_training.png"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
            page = browser.new_page(viewport={"width": 1200, "height": 800})
            page.goto(address, wait_until="domcontentloaded", timeout=60_000)

            def shows_the_object() -> bool:
                page.screenshot(path=screenshot, timeout=60_000)
                return has_object(screenshot)

            wait_for(shows_the_object, 240, f"the object in {screenshot}\n{''.join(printed)[-2000:]}")
            browser.close()
        assert process.poll() is None, "training must go on while it is watched"
        assert "Traceback" not in "".join(printed), "".join(printed)[-3000:]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
