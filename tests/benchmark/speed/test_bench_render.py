"""eugen-bench render: what is timed and counted, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.view_helpers import write_run

from eugen_fields.benchmark.speed.frames import camera_rays
from eugen_fields.benchmark.speed.render import Render
from eugen_fields.errors import InputError
from eugen_fields.runs import RadianceRun, open_run
from eugen_fields.runs.render import build_model, render_chunks

pytest_plugins = "support.run_fixture"


def test_frames_are_timed_with_and_without_the_grid(tmp_path: Path, capsys) -> None:
    runs = tuple(write_run(tmp_path / name, kind) for name, kind in (("first", "nerf"), ("second", "mipnerf")))
    bench = Render(runs=runs, sizes=(8, 12), rounds=2, views=2, device="cpu", json=tmp_path / "render.json")
    bench.main()
    text = bench.json.read_text()
    small, large = json.loads(text)["runs"]
    assert (small["size"], large["size"]) == (8, 12)
    for group in (small, large):
        for result in group["results"]:
            times = result["ms"]
            assert 0 < times["least"] <= times["median"] <= times["largest"]
            assert result["samples"] > 0 and result["samples_per_second"] > 0
        names = [(Path(result["run"]).name, result["occupancy"]) for result in group["results"]]
        assert names == [("first", True), ("first", False), ("second", True), ("second", False)]
    assert large["results"][0]["samples"] > small["results"][0]["samples"]
    assert "| 12x12 | without |" in capsys.readouterr().out
    bench.main()
    assert bench.json.read_text() == text


def test_the_grid_saves_samples(sphere_run: Path, tmp_path: Path) -> None:
    bench = Render(runs=(sphere_run,), sizes=(10,), rounds=1, views=1, device="cpu", json=tmp_path / "render.json")
    bench.main()
    (group,) = json.loads(bench.json.read_text())["runs"]
    empty, full = group["results"]
    assert empty["occupancy"] and not full["occupancy"] and 0 < 2 * empty["samples"] < full["samples"]


def test_what_is_occupied_is_in_view(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", "nerf"), device="cpu")
    assert isinstance(run, RadianceRun)
    model = build_model(run)
    for turn in (0.0, 0.4):
        rays = camera_rays(run, 24, turn)
        torch.testing.assert_close(rays.directions.norm(dim=-1), torch.ones(24, 24))
        seen = torch.cat([chunk["accumulation"] for chunk in render_chunks(model, rays, 1024)]).view(24, 24)
        border = torch.cat([seen[0], seen[-1], seen[:, 0], seen[:, -1]])
        assert seen.max() > 0.5 and border.max() < 0.1


@pytest.mark.parametrize(
    "options, says", [({"sizes": (0,)}, "--sizes 0"), ({"views": 0}, "--views 0"), ({"rounds": -2}, "--rounds -2")]
)
def test_wrong_flags_are_named(options: dict, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        Render(runs=(tmp_path,), json=tmp_path / "render.json", **options).main()


def test_runs_of_another_sort_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one run or more"):
        Render(runs=(), device="cpu", json=tmp_path / "render.json").main()
    with pytest.raises(InputError, match="signed distance"):
        Render(runs=(write_run(tmp_path / "run", "isdf"),), device="cpu", json=tmp_path / "render.json").main()
