"""eugen-bench report: the committed file is what the JSON files give, and what is missing is named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from support.helpers import PROJECT, here

RESULTS = PROJECT / "scripts" / "results"


def test_the_committed_report_is_made_of_the_committed_files(tmp_path: Path) -> None:
    result = here("eugen-bench", "report", "--results", RESULTS, "--output", tmp_path / "report.md")
    assert result.returncode == 0, result.stderr
    assert str(tmp_path / "report.md") in result.stdout
    assert (tmp_path / "report.md").read_bytes() == (RESULTS / "README.md").read_bytes()


def test_the_report_shows_every_file_in_the_folder_and_no_other() -> None:
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\]\(([^)]+)\)", text))
    assert shown == {path.name for path in RESULTS.iterdir()} - {"README.md"}
    assert text.count("\n### ") == len({name for name in shown if name.endswith(".json")})


def test_a_section_that_may_be_missing_comes_with_its_file(copy: Path) -> None:
    entry = {"scene": "thin", "width": 100, "method": "eugen-nerf-tiny", "layer": "prp", "options": [], "ssim": 0.9}
    entry |= {"trained_steps": 400, "train_seconds": 20.0, "psnr": 17.5, "empty_psnr": 12.0, "collapsed": True}
    told = {"title": "Which scenes make a run collapse?", "about": ["A dozen scenes."], "notes": ["One did."]}
    document = {"report": told, "runs": [entry | {"recoveries": 0}]}
    (copy / "scenes.json").write_text(json.dumps(document))
    texts = []
    for _ in range(2):
        assert here("eugen-bench", "report", "--results", copy).returncode == 0
        texts.append((copy / "README.md").read_text(encoding="utf-8"))
    assert texts[0] == texts[1] and "### Which scenes make a run collapse?" in texts[0]
    assert "| thin | 12.00 | 17.50 (1 of 1 collapsed) |" in texts[0]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(RESULTS, tmp_path / "results")


def report(folder: Path) -> str:
    result = here("eugen-bench", "report", "--results", folder)
    assert result.returncode == 1 and "Traceback" not in result.stderr and result.stderr.startswith("error: ")
    return result.stderr


def test_a_changed_figure_changes_its_table(copy: Path) -> None:
    path = copy / "tuning_cpu.json"
    document = json.loads(path.read_text())
    document["runs"][0]["psnr"] = 12.345
    path.write_text(json.dumps(document))
    assert here("eugen-bench", "report", "--results", copy).returncode == 0
    lines = zip((copy / "README.md").read_text().splitlines(), (RESULTS / "README.md").read_text().splitlines())
    changed = [new for new, old in lines if new != old]
    assert len(changed) == 1 and "| 12.3" in changed[0]


def test_what_is_missing_or_damaged_is_named(copy: Path) -> None:
    (copy / "train.png").unlink()
    assert "no plot train.png" in report(copy)
    (copy / "mesh_cpu.json").write_text("{")
    (copy / "tuning_cpu.json").write_text('{"report": {"title": "?", "about": ["?"], "notes": []}}')
    assert "tuning_cpu.json" in report(copy) and "runs" in report(copy)
    (copy / "tuning_cpu.json").unlink()
    assert "tuning_cpu.json" in report(copy)
    assert "none" in report(copy / "none")
