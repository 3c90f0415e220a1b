"""Every example runs and prints what it found."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.helpers import PROJECT

EXAMPLES = sorted((PROJECT / "scripts" / "examples").glob("*.py"))


def test_there_are_examples():
    assert EXAMPLES


def test_an_example_runs_from_any_folder(tmp_path: Path):
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, str(EXAMPLES[0])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert result.stdout.strip()


@pytest.mark.e2e
@pytest.mark.parametrize("example", EXAMPLES[1:], ids=lambda path: path.stem)
def test_example_runs(example: Path, capsys: pytest.CaptureFixture[str]):
    with torch.random.fork_rng(devices=[]):
        runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short_and_says_what_one_learns(example: Path):
    text = example.read_text(encoding="utf-8")
    assert text.startswith('"""') and len(text.splitlines()) < 120
