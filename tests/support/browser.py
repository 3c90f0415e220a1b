"""Headless Chromium: its flags, pages that note what goes wrong in them, and nerfstudio's viewer watched in it."""

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
from typing import Any

import numpy as np
import pytest
from PIL import Image

from support.knocking import SECRET, assert_closed

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]

WEBGPU_FLAGS = [
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    # a WebGPU canvas is handed on by Vulkan alone: without these the browser's GPU process dies
    "--enable-features=Vulkan",
    "--use-vulkan=swiftshader",
    "--disable-vulkan-surface",
]
"""WebGPU in software, beside WebGL."""

STOCK_FAULTS = ("Failed to load resource", "Computed radius is NaN")
"""Console errors of every page of nerfstudio's: its logo comes from the network, and a line of its own is empty."""

needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)"),
]


def launch(playwright, *flags: str):
    """Headless Chromium, which draws in software."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[*CHROMIUM_FLAGS, *flags])


def watched_page(browser, address: str, faults: list[str], width: int, height: int, known: tuple[str, ...] = ()):
    """Opens an address in a page that adds its errors to `faults`, but for lines on the console with a `known` part."""
    page = browser.new_page(viewport={"width": width, "height": height})

    def note(message) -> None:
        if message.type == "error" and not any(part in message.text for part in known):
            faults.append(message.text)

    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", note)
    page.goto(address, wait_until="domcontentloaded", timeout=60_000)
    return page


def wait_for(condition, seconds: float, what: str, pause: Callable[[], None] = lambda: time.sleep(0.2)):
    """The first true value of a condition that is asked again after each pause; an error once the seconds are over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        pause()
    raise AssertionError(f"waited {seconds} s for {what}")


def pixels_of(path: Path) -> np.ndarray:
    """The part of a screenshot that holds the scene, without the page's panels: integers, shape (H, W, 3)."""
    return np.asarray(Image.open(path).convert("RGB")).astype(int)[100:-60, 60:-360]


def watch(
    command: list[str],
    is_shown: Callable[[Path], bool],
    screenshot: Path,
    then: Callable[[Any, Callable[[], bool]], None] | None = None,
    seconds: float = 240,
) -> None:
    """Starts a command that serves nerfstudio's viewer, opens its page, waits until a screenshot passes, and knocks at
    the page's door.

    Args:
        then: called with playwright's page and a function that takes another screenshot and says whether it passes.
        seconds: how long a screenshot may take to pass.
    """
    from playwright.sync_api import sync_playwright

    printed: list[str] = []
    faults: list[str] = []
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"COLUMNS": "200", "OMP_WAIT_POLICY": "PASSIVE"},  # the browser computes beside it
    )
    assert process.stdout is not None
    reader = threading.Thread(target=printed.extend, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        address = wait_for(
            lambda: re.search(r"http://127\.0\.0\.1:\d+", "".join(printed)), 120, "the viewer's address"
        )[0]
        with sync_playwright() as playwright:
            browser = launch(playwright)
            page = watched_page(browser, address, faults, 1200, 800, STOCK_FAULTS)

            def passes() -> bool:
                page.screenshot(path=screenshot, timeout=60_000)
                return is_shown(screenshot)

            wait_for(passes, seconds, f"the object in {screenshot}\n{''.join(printed)[-2000:]}")
            outside = screenshot.with_suffix(".txt")
            outside.write_text(SECRET)
            assert_closed(int(address.rpartition(":")[2]), outside)
            if then is not None:
                then(page, passes)
            browser.close()
        if then is not None:  # pages with something of ours beside nerfstudio's
            assert not faults, faults
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
