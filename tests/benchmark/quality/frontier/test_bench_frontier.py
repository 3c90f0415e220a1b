"""eugen-bench frontier: what it trains, in which order, what it writes, resumes and refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from support.helpers import PROJECT, here, write_sphere_scene

from eugen_fields.benchmark.common.results import source_commit
from eugen_fields.benchmark.quality.frontier.frontier import Frontier
from eugen_fields.benchmark.quality.frontier.frontier_contestants import NETWORKS
from eugen_fields.benchmark.quality.frontier.frontier_costs import build, costs
from eugen_fields.benchmark.quality.frontier.frontier_trial import FrontierTrial
from eugen_fields.benchmark.report import Report
from eugen_fields.errors import InputError

TINY = PROJECT / "scenes" / "hard" / "tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three scenes, of 24x24 pixels each."""
    folder = tmp_path_factory.mktemp("suite")
    for name in ("ball", "marble", "pearl"):
        write_sphere_scene(folder / name, train=1, test=1)
    return folder


def bench(place: Path, *scenes: Path, **options) -> Frontier:
    return Frontier(scene=scenes, output=place / "runs", json=place / "frontier.json", **options)


def facts(trial: FrontierTrial) -> dict:
    """What a training measures."""
    found = {"trained_steps": trial.steps, "train_seconds": 20.0, "psnr": 20.0, "ssim": 0.9, "collapsed": False}
    names = ("multiplications", "transform_multiplications", "parameters", "compact_bytes")
    return found | {"recoveries": 0} | dict.fromkeys(names, 1000)


@pytest.mark.e2e
def test_two_contestants_are_trained_scored_weighed_and_reported(tmp_path: Path, capsys) -> None:
    names = ("dense-32", "shrunk-24")
    small = ("grid_resolution=16", "samples_per_diagonal=64")
    frontier = bench(tmp_path, TINY, contestants=names, steps=5, seed=(3,), size=32, views=1, options=small)
    frontier.main()
    text = frontier.json.read_text()
    dense, shrunk = runs = json.loads(text)["runs"]
    for name, run in zip(names, runs):
        assert (run["contestant"], run["scene"], run["seed"], run["width"]) == (name, "tiny", 3, 32)
        assert run["trained_steps"] == run["steps"] == 5 and run["optimizer"] == "muon" and run["learning_rate"] > 0
        assert 0 < run["psnr"] < 60 and -1 <= run["ssim"] <= 1 and 0 <= run["opacity"] <= 1
        assert run["train_seconds"] > 0 and run["train_cpu_seconds"] > 0 and run["recoveries"] == 0
        assert run["torch"] and run["threads"] >= 1 and run["device"] and run["commit"] == source_commit()
        assert {cost: run[cost] for cost in costs(build(NETWORKS[name]))} == costs(build(NETWORKS[name]))
    assert shrunk["teacher_steps"] == 3 and "teacher_steps" not in dense
    assert "dense, 32 wide" in capsys.readouterr().out
    assert frontier.json.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    frontier.main()
    assert frontier.json.read_text() == text
    results = shutil.copytree(PROJECT / "scripts" / "results", tmp_path / "results")
    for path in (frontier.json, frontier.json.with_suffix(".png")):
        shutil.copy(path, results)
    shown = Report(results).text()
    assert "### At equal cost" in shown and "frontier.png" in shown and "| dense, 32 wide | 10,112 |" in shown


def test_a_call_that_was_broken_off_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, stop = [], [4]

    def train(self: FrontierTrial, seed: int) -> dict:
        if len(trained) == stop[0]:
            raise KeyboardInterrupt
        trained.append((self.scene.name, self.network.name, seed, self.steps))
        return facts(self)

    monkeypatch.setattr(FrontierTrial, "run", train)
    networks = ("dense-32", "prp")
    settings = {"contestants": networks, "seed": (0, 1), "other_seed": (7,), "steps": 10, "plot": False}
    frontier = bench(tmp_path, folder / "marble", folder, **settings)
    with pytest.raises(KeyboardInterrupt):
        frontier.main()
    written = json.loads(frontier.json.read_text())["runs"]
    assert len(written) == 4 and not list(tmp_path.glob("*.part"))
    stop[0] = -1
    frontier.main()
    # whole tables first: every scene once, then the second seed of the first scene
    places = [("marble", 0), ("ball", 7), ("pearl", 7), ("marble", 1)]
    assert trained == [(scene, name, seed, 10) for scene, seed in places for name in networks]
    assert json.loads(frontier.json.read_text())["runs"][:4] == written
    # other steps, sizes and views are trainings of their own in the same file; what is there is not trained again
    for change in ({"steps": 20}, {"size": 12}, {"views": 1}):
        before = len(trained)
        bench(tmp_path, folder / "marble", **(settings | change)).main()
        assert len(trained) == before + 4
    bench(tmp_path, folder / "marble", **settings).main()
    assert len(trained) == 8 + 3 * 4 == len(json.loads(frontier.json.read_text())["runs"])


def test_the_list_has_every_contestant_and_trains_nothing(tmp_path: Path, capsys) -> None:
    frontier = bench(tmp_path, TINY, contestants=("prp", "residual-28"), show=True)
    frontier.main()
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| prp | PRP, 128 wide | prp | 65,408 | 17,636 | 69,056 |",
        "| residual-28 | EUGen residual, m = 28 | eugen-residual:num_features=28 | 21,503 | 21,715 | 86,884 |",
    ]
    assert not frontier.json.exists()


def test_flags_that_will_not_do_are_named_before_anything_is_trained(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FrontierTrial, "run", lambda *_: pytest.fail("it trains"))
    for options, words in (
        (
            {"contestants": ("dense-32", "eugen-9")},
            "--contestants eugen-9: there is no such contestant; there are dense",
        ),
        ({"contestants": ()}, "--contestants: give at least one"),
        ({"seed": ()}, "--seed: give at least one"),
        ({"seed": (-1,)}, "--seed -1: it must be at least 0"),
        ({"steps": 0}, "--steps 0: it must be at least 1"),
        ({"steps": 1}, "--steps 1: shrunk-24 needs at least 2"),
        ({"size": 5}, "--size 5: images of"),
        ({"options": ("num_layers",)}, "give name=value"),
    ):
        with pytest.raises(InputError) as caught:
            bench(tmp_path, folder / "ball", **options).main()
        assert words in caught.value.message
    assert not (tmp_path / "frontier.json").exists()
    (tmp_path / "frontier.json").write_text('{"environment": {}, "runs": [{"layer": "dense", "psnr": 20.0}]}')
    with pytest.raises(InputError, match=r"--json .*holds results of another benchmark"):
        bench(tmp_path, folder / "ball").main()


@pytest.mark.e2e
def test_a_contestant_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    result = here("eugen-bench", "frontier", "--contestants", "eugen-9", "--json", tmp_path / "frontier.json")
    assert result.returncode == 1 and result.stderr.startswith("error: --contestants eugen-9: there is no such")
    assert "\n" not in result.stderr.strip() and "residual-28" in result.stderr


def test_the_commit_is_that_of_the_checkout() -> None:
    head = subprocess.run(["git", "-C", str(PROJECT), "rev-parse", "HEAD"], capture_output=True, text=True)
    found = source_commit()
    if head.returncode:
        assert found is None
    else:
        assert found is not None and head.stdout.startswith(found.removesuffix("-dirty"))
