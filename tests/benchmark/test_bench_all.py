"""eugen-bench all: one report of every benchmark, whatever one of them lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from eugen_fields.benchmark.all import All
from eugen_fields.benchmark.speed.render import Render
from eugen_fields.errors import InputError


class Part:
    """A benchmark that draws one plot, or lacks something."""

    def __init__(self, folder: Path, name: str, lacks: str = "") -> None:
        self.folder, self.name, self.lacks = folder, name, lacks

    def report(self) -> str:
        if self.lacks:
            raise InputError(self.lacks)
        (self.folder / f"{self.name}.png").write_bytes(b"plot")
        return f"| {self.name} |"


def test_the_report_holds_every_part_with_its_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    parts = {
        "First": lambda: Part(tmp_path, "first"),
        "Second": lambda: Part(tmp_path, "second", lacks="there is no room."),
        "Third": lambda: Part(tmp_path, "third"),
    }
    monkeypatch.setattr(All, "benchmarks", lambda self, device: parts)
    All(output=tmp_path, device="cpu").main()
    report = (tmp_path / "report.md").read_text()
    places = [report.index(text) for text in ("# eugen-bench all", "- torch:", "| first |", "(first.png)", "no room")]
    assert places == sorted(places) and report.index("| third |") < report.index("(third.png)")
    assert "Not measured: there is no room." in report and report.count("(first.png)") == 1
    assert str(tmp_path / "report.md") in capsys.readouterr().out


def test_every_benchmark_is_quick_and_writes_into_the_folder(tmp_path: Path) -> None:
    made = All(output=tmp_path, seed=(3, 4), device="cpu").benchmarks("cpu")
    assert list(made) == ["Layers", "Training", "Frames", "Sizes", "Signed distance", "Signed distance, speed"]
    for title in made:
        if title != "Frames":  # which needs trained runs
            benchmark = made[title]()
            assert getattr(benchmark, "quick", True) and benchmark.device == "cpu"
            assert benchmark.json.parent == tmp_path and benchmark.seed in (3, (3,), (3, 4))


def test_frames_are_those_of_trained_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eugen_fields.benchmark.quality.comparison import Train

    runs = [{"layer": layer, "run": f"runs/{layer}"} for layer in ("dense", "shallow", "eugen", "prp")]
    monkeypatch.setattr(Train, "run_all", lambda self: runs)
    render = All(output=tmp_path, device="cpu").benchmarks("cpu")["Frames"]()
    assert isinstance(render, Render) and [run.name for run in render.runs] == ["dense", "eugen", "prp"]


def test_wrong_flags_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--seed"):
        All(output=tmp_path, seed=(), device="cpu").main()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to --output"):
        All(output=tmp_path / "file" / "folder", device="cpu").main()
