"""Hostile input, drawn at random: every trial succeeds, or ends with one clear line. See support/hostile.py."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from support import trials
from support.hostile import again, campaign
from support.trials import Trial, judge


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_hostile_input_ends_well(seed: int) -> None:
    failed = []
    for number, trial, outcome in campaign(seed, range(300)):
        if outcome.faults:
            failed.append(f"{trial.words[0]}, {trial.damage}: {'; '.join(outcome.faults)}\n    {again(seed, number)}")
    assert not failed, "\n".join([f"{len(failed)} of 300 trials failed", *failed])


@pytest.mark.parametrize(
    ("status", "output", "fault"),
    [
        (0, "trained", None),
        (1, "some lines\nerror: x.json: frames is 3; it must be a list.\n", None),
        (2, "╭─ Parsing error ─╮\n│ invalid int │\nFor full helptext, see ns-train --help", None),
        (1, "Traceback (most recent call last):\n  ...\nKeyError: 'x'\n", "KeyError: 'x'"),
        (0, "Exception in thread x:\nTraceback (most recent call last):\nValueError: y", "ValueError: y"),
        (1, "", "without a line"),
        (2, "usage", "without a line"),
        (1, "error: one\nerror: two", "more than one"),
        (1, "error: " + "x" * 5000, "more than one"),
        (-signal.SIGSEGV, "", "signal 11"),
        (-signal.SIGXCPU, "", "no end"),
        (None, "", "no end"),
    ],
)
def test_how_endings_are_judged(status, output, fault) -> None:
    faults = judge(status, output)
    assert bool(faults) == (fault is not None)
    assert fault is None or fault in faults[0]


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "image").write_text("as it was")
    return Trial(["command", 1], "none", [tmp_path / "data"], tmp_path / "canary")


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (lambda words: print(words), None),
        (lambda words: sys.exit("error: no such file"), None),
        (lambda words: {}["x"], "KeyError"),
        (lambda words: sys.exit(3), "exit status 3"),
        (lambda words: os.abort(), "signal 6"),
        (lambda words: time.sleep(100), "no end"),
        (lambda words: Path("canary").touch(), "code from a file"),
        (lambda words: Path("data/image").write_text("other"), "gone or changed"),
        (lambda words: Path("data/image").unlink(), "gone or changed"),
        (lambda words: Path("data/more").touch(), None),
        (lambda words: bytearray(1 << 42), "MemoryError"),
    ],
)
def test_every_fault_is_seen(trial, tmp_path, monkeypatch, command, fault) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trials, "SECONDS", 0.2 if fault == "no end" else 60)
    outcome = trials.run(trial, tmp_path / "log", command)
    assert bool(outcome.faults) == (fault is not None), outcome
    assert fault is None or fault in outcome.faults[0]
    assert "MemoryError" in str(fault) or outcome.seconds < 60


def test_trials_are_drawn_from_the_seed_alone(tmp_path) -> None:
    """Whoever repeats one gets the same files."""
    import random

    from support.mutations import damage_json

    texts = []
    for attempt in range(2):
        path = tmp_path / f"{attempt}.json"
        path.write_text(json.dumps({"frames": [{"file_path": "a", "m": [[1, 2], [3, 4]]}], "w": 3}))
        random.seed(attempt)
        said = damage_json(random.Random("0 7"), path).partition(":")[2]
        texts.append((said, path.read_bytes()))
    assert texts[0] == texts[1]
