"""eugen-bench isdf and isdf-speed: what they measure, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.distance_truths import write_room

from eugen_fields.benchmark.distance.isdf import ISDF
from eugen_fields.benchmark.speed.isdf_speed import ISDFSpeed
from eugen_fields.errors import InputError
from eugen_fields.methods import METHODS

SMALL = ("layer_width=16", "num_features=8", "num_layers=4", "skip_connections=2,", "replace=1,2")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_room(tmp_path_factory.mktemp("room"), frames=8)


@pytest.fixture(autouse=True)
def quick_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first frame gets no more steps than the others, so that a stream takes few."""
    monkeypatch.setattr(METHODS["eugen-isdf-tiny"].pipeline.datamanager, "first_frame_steps", 10)


def bench(room: Path, folder: Path, **options) -> ISDF:
    settings = {"steps": 40, "options": SMALL, "checks": 2, "voxel_size": 0.1, "mesh_resolution": 24} | options
    return ISDF(data=room, output=folder / "runs", json=folder / "results.json", **settings)


@pytest.mark.e2e
def test_results_are_complete_and_not_measured_twice(room: Path, tmp_path: Path, capsys) -> None:
    both = bench(room, tmp_path, layer=("dense", "eugen"), steps=85)
    both.main()
    text = both.json.read_text()
    document = json.loads(text)
    tsdf, *runs = document["runs"]
    assert [(run["layer"], run["seed"]) for run in runs] == [("dense", 0), ("eugen", 0)]
    for run in runs:
        assert run["steps"] == 85 and run["frames"] == 8 and run["seconds"] > 0
        assert run["visible_error_cm"] == run["errors"]["visible_cm"] > 0
        assert run["tsdf_visible_error_cm"] == tsdf["visible_error_cm"]
        assert 0 <= run["eikonal_residual"] < 1.5
        assert run["mesh"].keys() == tsdf["mesh"].keys()
    for run in document["runs"]:
        assert [entry["frame"] for entry in run["over_time"]] == [3, 7]
    assert runs[0]["over_time"][-1]["visible_cm"] == pytest.approx(runs[0]["visible_error_cm"], rel=0.05)
    names = ("visible_error_cm", "surface_error_cm", "tsdf_visible_error_cm", "seconds", "steps", "parameters")
    assert {name: document[name] for name in names} == {name: runs[-1][name] for name in names}
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"results_errors.png", "results_slice.png", "results_mesh.png"}
    assert "| eugen-isdf-tiny eugen" in capsys.readouterr().out
    both.main()
    assert both.json.read_text() == text


def test_measuring_along_the_stream_costs_no_time_of_the_stream(room: Path, tmp_path: Path, monkeypatch) -> None:
    """With the wall clock no frame is skipped for what the benchmark does."""
    import time

    from eugen_fields.benchmark.distance.evaluation import Evaluation

    original = Evaluation.at_frame

    def slow(self, sdf, frame):
        time.sleep(0.5)
        return original(self, sdf, frame)

    monkeypatch.setattr(Evaluation, "at_frame", slow)
    run = bench(room, tmp_path, clock="wall", steps=200, checks=4, plot=False)
    run.main()
    _, found = json.loads(run.json.read_text())["runs"]
    measured = len(found["over_time"])
    assert measured >= 1 and found["seconds"] >= 0.0
    assert found["over_time"][-1]["frame"] == 7


def test_the_truth_is_asked_for_before_anything_is_trained(tmp_path: Path) -> None:
    from support.depth_recordings import write_transforms

    folder = write_transforms(tmp_path / "room", 8)
    with pytest.raises(InputError, match="distance_ground_truth.npz"):
        bench(folder, tmp_path).main()
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize("options, says", [({"checks": 0}, "--checks 0"), ({"options": ("width",)}, "give name=value")])
def test_wrong_flags_are_named(options: dict, says: str, room: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        bench(room, tmp_path, **options).main()


def test_speed_is_measured_for_every_kind_against_dense(room: Path, tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    small = ":".join(SMALL[:-1])
    kinds = (f"dense:{small}", f"eugen:{small}:replace=1,2")
    with pytest.raises(InputError, match="dense must be among"):
        ISDFSpeed(data=room, kinds=kinds, json=path).main()
    ISDFSpeed(data=room, kinds=("dense", kinds[1]), rounds=3, query_points=500, tile=100, json=path).main()
    document = json.loads(path.read_text())
    assert document["ratios"]["step.dense"] == document["ratios"]["query.dense"] == 1.0
    for run in document["runs"]:
        for what in ("step", "query"):
            times = run["ms"][what]
            assert 0 < times["least"] <= times["median"] <= times["largest"]
    dense, eugen = document["runs"]
    ratio = dense["ms"]["query"]["median"] / eugen["ms"]["query"]["median"]
    assert document["ratios"][f"query.{kinds[1]}"] == pytest.approx(ratio)


@pytest.mark.parametrize("name", ["rounds", "query_points", "tile"])
def test_numbers_below_one_are_named(name: str, room: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=name.replace("_", "-")):
        ISDFSpeed(data=room, json=tmp_path / "s.json", **{name: 0}).main()
