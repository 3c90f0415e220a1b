"""What eugen-bench frontier concludes: gaps to a line at equal cost, verdicts over scenes, tables and plots."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.helpers import PROJECT

from eugen_fields.benchmark.quality.frontier.frontier_contestants import DENSE, DENSE_POSITION, NETWORKS
from eugen_fields.benchmark.quality.frontier.frontier_plot import draw
from eugen_fields.benchmark.quality.frontier.frontier_report import markdown_report
from eugen_fields.benchmark.quality.frontier.frontier_verdict import Gap, by_setting, gap, line, points, verdicts
from eugen_fields.benchmark.report import Report

COSTS = {"dense-32": 10_000, "dense-62": 20_000, "dense-128": 40_000, "residual-28": 20_000, "eugen-64": 28_284}
COSTS |= {"prp": 40_000, "prp-hadamard": 40_000, "residual-16": 9_000, "dense-position-38": 15_000}


def near(value: float) -> Any:
    return pytest.approx(value, abs=1e-4)


def run(name: str, psnr: float, scene: str = "ball", seed: int = 0, **changes) -> dict:
    """An entry of the JSON file."""
    cost = COSTS[name]
    key = {"scene": scene, "contestant": name, "layer": NETWORKS[name].layer, "options": [], "size": 200}
    key |= {"views_scored": 0, "seed": seed, "steps": 1200, "trained_steps": 1200}
    facts = {"psnr": psnr, "ssim": 0.9, "collapsed": False, "recoveries": 0, "train_seconds": 60.0}
    counts = {"multiplications": cost, "parameters": 2 * cost, "compact_bytes": 8 * cost}
    fast = {"transform_multiplications": 20_000 if name == "prp-hadamard" else cost}
    return key | facts | counts | fast | changes


DENSE_RUNS = [run("dense-32", 30.0), run("dense-62", 33.0), run("dense-128", 34.0)]


def test_the_line_is_straight_over_the_logarithm_of_the_cost() -> None:
    along = [(100.0, 30.0), (400.0, 34.0), (1600.0, 35.0)]
    for cost, psnr in along:
        assert gap(cost, psnr + 0.5, along) == Gap(0.5)
    assert gap(200.0, 32.0, along) == Gap(near(0.0))
    assert gap(800.0, 34.0, along) == Gap(near(-0.5))
    found = gap(100.0 * math.e, 30.0, along)
    assert found is not None and found.value == near(-4.0 / math.log(4.0))


def test_what_lies_beyond_the_line_is_not_held_against_more_than_is_known() -> None:
    along = [(100.0, 30.0), (400.0, 34.0)]
    assert gap(99.0, 50.0, along) is None and gap(100.0, 50.0, []) is None
    above, below = gap(401.0, 35.0, along), gap(401.0, 33.0, along)
    assert above == Gap(1.0, exact=False) and above is not None and not above.decided and not above.reached
    assert below is not None and below.decided and not below.reached and str(below) == "≤ -1.00"


@pytest.mark.parametrize(("value", "reached"), [(0.2, True), (0.0, True), (-0.04, True), (-0.06, False)])
def test_a_hair_below_the_line_is_on_it(value: float, reached: bool) -> None:
    assert Gap(value).decided and Gap(value).reached is reached and Gap(value).below is not reached


def test_collapses_of_dense_networks_do_not_lower_the_line() -> None:
    runs = [*DENSE_RUNS, run("dense-62", 12.0, seed=1, collapsed=True), run("dense-32", 32.0, seed=1)]
    found = points(runs, "multiplications")
    assert line(found, DENSE) == [(10_000, 31.0), (20_000, 33.0), (40_000, 34.0)]
    assert line(found, DENSE_POSITION) == []
    lost = [run("dense-62", 12.0, collapsed=True)]
    assert line(points([*lost, DENSE_RUNS[0]], "multiplications"), DENSE) == [(10_000, 30.0)]


def test_collapses_of_others_count_and_are_named() -> None:
    runs = [*DENSE_RUNS, run("residual-28", 34.0), run("residual-28", 12.0, seed=1, collapsed=True)]
    (verdict,) = verdicts(runs, "multiplications", DENSE)
    assert verdict.gaps == {"ball": Gap(near(-10.0), collapsed=1)}
    assert str(verdict.gaps["ball"]) == "-10.00 (1 collapsed)"


def test_verdicts_are_over_scenes_and_the_best_comes_first() -> None:
    runs = [
        *DENSE_RUNS,
        run("residual-28", 33.3),
        run("eugen-64", 33.0),  # on the line there is 33.5
        run("residual-16", 29.0),  # cheaper than all dense ones
        run("dense-32", 20.0, scene="rock"),
        run("dense-62", 22.0, scene="rock"),
        run("residual-28", 21.0, scene="rock"),
        run("eugen-64", 22.9, scene="rock"),  # dearer than all dense ones on this scene
    ]
    first, second, third = verdicts(runs, "multiplications", DENSE)
    assert [v.title for v in (first, second, third)] == [
        "EUGen residual, m = 28",
        "EUGen chain, m = 64",
        "EUGen residual, m = 16",
    ]
    assert first.gaps == {"ball": Gap(near(0.3)), "rock": Gap(near(-1.0))}
    assert (first.reached, first.decided, first.mean) == (1, 2, near(-0.35))
    assert second.gaps["ball"] == Gap(near(-0.5)) and second.gaps["rock"] == Gap(near(0.9), exact=False)
    assert (second.reached, second.decided, second.mean) == (0, 1, near(-0.5))
    assert third.gaps == {"ball": None} and (third.decided, third.mean) == (0, None)
    assert verdicts(runs, "multiplications", DENSE_POSITION) == []


def test_fast_transforms_are_another_row_at_equal_multiplications_alone() -> None:
    runs = [*DENSE_RUNS, run("prp-hadamard", 33.5)]
    found = {verdict.title: verdict.gaps["ball"] for verdict in verdicts(runs, "multiplications", DENSE)}
    assert found == {
        "PRP-Hadamard, 128 wide": Gap(near(-0.5)),
        "PRP-Hadamard, 128 wide, fast transforms": Gap(near(0.5)),
    }
    assert [verdict.cost for verdict in verdicts(runs, "compact_bytes", DENSE)] == [320_000]
    text = markdown_report(runs)
    assert "| PRP-Hadamard, 128 wide | 40,000 (20,000 with fast transforms) |" in text


def test_the_report_says_who_holds_and_has_a_table_for_each_scene_and_number_of_steps() -> None:
    runs = [*DENSE_RUNS, run("residual-28", 33.3), run("residual-28", 33.1, seed=1), run("prp", 33.0)]
    text = markdown_report(runs)
    assert (
        "- At equal multiplications per sample these are as good as dense networks or better: EUGen residual, m = "
        in (text)
    )
    assert "m = 28 (1 of 1 scene). Below on every scene: 1 other." in text
    assert "| EUGen residual, m = 28 | 20,000 | +0.20 | +0.20 | 1 of 1 scene |" in text
    assert "| PRP, 128 wide | 40,000 | -1.00 | -1.00 | 0 of 1 scene |" in text
    row = (
        "| EUGen residual, m = 28 | 20,000 | 40,000 | 160,000 | 33.20 (33.10 to 33.30) | 0.9000 | 2 | 60 | 0 of 2 | 0 |"
    )
    assert row in text and text.count("| network | multiplications per sample | parameters |") == 1
    below = markdown_report([*DENSE_RUNS, run("prp", 33.0)])
    assert "- At equal bytes all are below dense networks on every scene." in below
    more = [run("dense-62", 35.0, trained_steps=2400), run("residual-28", 35.5, trained_steps=2400)]
    assert list(by_setting([*runs, *more])) == [
        "1,200 steps, images at most 200 wide",
        "2,400 steps, images at most 200 wide",
    ]
    both = markdown_report([*runs, *more, run("prp", 30.0, scene="rock"), run("prp", 9.0, layer="prp:rank=1")])
    assert "ball, 2,400 steps, images at most 200 wide:" in both and "rock, 1,200 steps" in both
    assert "| EUGen residual, m = 28 | 20,000 | +0.50 | +0.50 | 1 of 1 scene |" in both
    assert "Left out: 1 result of networks that are no longer contestants." in both and "9.00" not in both
    views = run("prp", 30.0, views_scored=4, options=["grid_resolution=32"])
    assert list(by_setting([views])) == ["1,200 steps, images at most 200 wide, 4 test views, grid_resolution=32"]


def test_plots_are_written_for_one_scene_several_and_none(tmp_path: Path) -> None:
    runs = [*DENSE_RUNS, run("prp-hadamard", 33.0), run("residual-28", 12.0, collapsed=True)]
    scenes = [*runs, run("prp", 30.0, scene="rock", trained_steps=2400), run("prp", 9.0, scene="mud", collapsed=True)]
    for name, drawn in (("one.png", runs), ("more.png", scenes)):
        assert draw(drawn, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert not draw([], tmp_path / "none.png") and not (tmp_path / "none.png").exists()


def test_the_section_of_the_report_comes_with_its_file(tmp_path: Path) -> None:
    results = shutil.copytree(PROJECT / "scripts" / "results", tmp_path / "results")
    path = results / "frontier.json"
    path.unlink(missing_ok=True)
    assert "### Which is best?" not in Report(results).text()
    told = {"title": "Which is best?", "about": ["Four networks."], "notes": ["One holds."]}
    path.write_text(json.dumps({"report": told, "runs": [*DENSE_RUNS, run("residual-28", 33.25)]}))
    text = Report(results).text()
    assert "### Which is best?" in text and "| EUGen residual, m = 28 | 20,000 | +0.25 |" in text
