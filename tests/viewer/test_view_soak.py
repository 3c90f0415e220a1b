"""Ten minutes of eugen-view with four browsers that never rest, on a run that trains meanwhile.

EUGEN_SOAK_SECONDS gives another length. With EUGEN_TEST_ARTEFACTS the memory over time and a screenshot are kept.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.browser import CHROMIUM, CHROMIUM_FLAGS, STOCK_FAULTS, artefacts, wait_for
from support.helpers import TRAIN_FLAGS

from eugen_fields.runs.checkpoints import list_checkpoints

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)"),
]
SECONDS = float(os.environ.get("EUGEN_SOAK_SECONDS", "600"))
CLIENTS = 4
HOTDOG = Path(__file__).parents[2] / "scenes" / "hotdog"


def resident_mib(pid: int) -> float:
    """Memory of a process that is in use, MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def started(*words: object, output: Path):
    """A command of ours in a process group of its own, that prints into a file."""
    program = [Path(sys.executable).with_name(str(words[0])), *words[1:]]
    with output.open("w") as file:
        process = subprocess.Popen(
            [str(word) for word in program], stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            env=os.environ | {"COLUMNS": "200", "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.mark.timeout(SECONDS + 900)
def test_four_browsers_on_a_run_that_trains(tmp_path):
    from playwright.sync_api import sync_playwright

    folder = tmp_path / "hotdog" / "eugen-nerf-tiny" / "soak"
    training = ["ns-train", "eugen-nerf-tiny", "--data", HOTDOG, "--output-dir", tmp_path, "--timestamp", "soak"]
    training += ["--max-num-iterations", 1_000_000, "--steps-per-save", 50, *TRAIN_FLAGS]
    faults: list[str] = []
    with started(*training, output=tmp_path / "train.log"):
        wait_for(lambda: list_checkpoints(folder / "nerfstudio_models"), 240, "the first checkpoint")
        first = list_checkpoints(folder / "nerfstudio_models")[-1][0]
        with started("eugen-view", folder, "--port", 0, output=tmp_path / "view.log") as server:

            def printed() -> str:
                return (tmp_path / "view.log").read_text(errors="replace")

            address = wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+", printed()), 120, "the address")[0]
            memory: list[tuple[float, float]] = []
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
                pages = []
                for _ in range(CLIENTS):
                    page = browser.new_page(viewport={"width": 900, "height": 600})
                    page.on("pageerror", lambda error: faults.append(str(error)))
                    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
                    page.goto(address, wait_until="domcontentloaded", timeout=120_000)
                    pages.append(page)
                start, random, drags = time.monotonic(), np.random.default_rng(0), 0
                while time.monotonic() - start < SECONDS:
                    for page in pages:
                        x, y = random.uniform(100, 400), random.uniform(150, 450)
                        page.mouse.move(x, y)
                        page.mouse.down()
                        page.mouse.move(x + random.uniform(-50, 50), y + random.uniform(-20, 20), steps=4)
                        page.mouse.up()
                        drags += 1
                    assert server.poll() is None, printed()[-3000:]
                    memory.append((time.monotonic() - start, resident_mib(server.pid)))
                    pages[0].wait_for_timeout(500)
                pictures = [page.screenshot(timeout=120_000) for page in pages]
                browser.close()
            last = list_checkpoints(folder / "nerfstudio_models")[-1][0]
            assert "Traceback" not in printed() and "Exception" not in printed(), printed()[-3000:]
        assert "Traceback" not in (tmp_path / "train.log").read_text(errors="replace")
    times, megabytes = np.array(memory).T
    early, late = (np.median(megabytes[span]) for span in (times < 0.25 * SECONDS, times > 0.75 * SECONDS))
    facts = {
        "seconds": SECONDS, "clients": CLIENTS, "drags": drags, "training_steps": [first, last],
        "median_mib_first_quarter": early, "median_mib_last_quarter": late, "growth": late / early - 1.0,
        "mib": [[round(second), round(size, 1)] for second, size in memory[:: max(1, len(memory) // 60)]],
    }  # fmt: skip
    kept = artefacts(tmp_path)
    (kept / "view_soak.json").write_text(json.dumps(facts, indent=1))
    (kept / "view_soak.png").write_bytes(pictures[-1])
    print(json.dumps({name: value for name, value in facts.items() if name != "mib"}))
    known = ("net::ERR_", *STOCK_FAULTS)
    assert not [fault for fault in faults if not any(part in fault for part in known)], faults
    assert last > first, "training went on"
    assert facts["growth"] < 0.05
