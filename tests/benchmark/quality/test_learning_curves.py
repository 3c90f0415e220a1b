"""eugen-bench train: budgets of steps and of time, learning curves, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from eugen_fields.benchmark.quality import learning_curve
from eugen_fields.benchmark.quality.comparison import Train
from eugen_fields.benchmark.quality.comparison_report import seconds_to
from eugen_fields.errors import InputError
from eugen_fields.fields.base import Field
from eugen_fields.training.schedule import WarmupDecayConfig

SMALL = ("num_layers=2", "layer_width=16", "num_features=4", "grid_resolution=16", "samples_per_diagonal=64")


def bench(scene: Path, folder: Path, **options) -> Train:
    settings = {"layers": ("dense",), "options": SMALL, "checkpoints": 3, "curve_views": 1} | options
    return Train(scene=scene, output=folder / "runs", json=folder / "results.json", **settings)


@pytest.mark.e2e
def test_both_budgets_leave_curves_for_every_seed(sphere_scene: Path, tmp_path: Path, capsys) -> None:
    both = bench(
        sphere_scene,
        tmp_path,
        layers=("dense", "hybrid-prp"),
        seed=(0, 1),
        budget=("steps", "time"),
        steps=9,
        seconds=0.2,
        views=1,
    )
    both.main()
    text = both.json.read_text()
    runs = json.loads(text)["runs"]
    order = [(run["seed"], run["seconds"], run["layer"]) for run in runs]
    assert order == [(seed, s, layer) for seed in (0, 1) for s in (None, 0.2) for layer in ("dense", "hybrid-prp")]
    for run in runs:
        steps = [point["steps"] for point in run["curve"]]
        assert steps == sorted(steps) and steps[-1] == run["trained_steps"] and run["stored_bytes"] > 0
        assert run["curve"][-1]["seconds"] <= run["train_seconds"] + 1e-3
        if run["seconds"] is None:
            assert steps == [3, 6, 9]
        else:
            assert run["curve"][-1]["seconds"] >= 0.2 and 1 <= len(steps) <= 3
    folders = {run["run"] for run in runs}
    assert len(folders) == len(runs) and all((Path(folder) / "config.yml").is_file() for folder in folders)
    table = capsys.readouterr().out
    assert "| 9 steps | hybrid-prp |" in table and "| 0.2 s | dense |" in table
    assert both.json.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    both.main()
    assert both.json.read_text() == text


def test_kernels_are_compiled_before_the_clock_starts(sphere_scene: Path, tmp_path: Path, monkeypatch) -> None:
    events = []
    start = learning_curve.LearningCurve.start
    monkeypatch.setattr(Field, "prepare_training", lambda self: events.append("kernels"))
    monkeypatch.setattr(
        learning_curve.LearningCurve, "start", lambda self, trainer: (events.append("clock"), start(self, trainer))
    )
    bench(sphere_scene, tmp_path, budget=("time",), seconds=0.1, views=1).main()
    assert events == ["kernels", "clock"]


def test_measuring_on_the_way_costs_no_time(sphere_scene: Path, tmp_path: Path, monkeypatch) -> None:
    import time

    original = learning_curve.score_run

    def slow(*arguments, **options):
        time.sleep(2.0)
        return original(*arguments, **options)

    monkeypatch.setattr(learning_curve, "score_run", slow)
    run = bench(sphere_scene, tmp_path, budget=("time",), seconds=0.3, checkpoints=2)
    (found,) = run.run_all()
    assert 0.3 <= found["curve"][-1]["seconds"] < 2.0
    assert found["curve"][0]["seconds"] < found["curve"][-1]["seconds"] or len(found["curve"]) == 1


def test_the_learning_rate_follows_what_is_used_up() -> None:
    schedule = WarmupDecayConfig(warmup_steps=10, final_factor=0.01, hold=0.5)
    assert schedule.factor(4, 0.0) == pytest.approx(0.5)
    assert schedule.factor(100, 0.4) == schedule.factor(100, 0.5) == pytest.approx(1.0)
    assert schedule.factor(100, 0.75) == pytest.approx(0.1)
    assert schedule.factor(100, 1.0) == schedule.factor(100, 7.0) == pytest.approx(0.01)
    plain = WarmupDecayConfig(warmup_steps=0, final_factor=0.03)
    assert plain.factor(0, 0.5) == pytest.approx(math.sqrt(0.03))


@pytest.mark.parametrize(
    "options, says",
    [
        ({"budget": ("time",)}, "needs --seconds"),
        ({"budget": ("time",), "seconds": -1.0}, "needs --seconds"),
        ({"checkpoints": 0}, "--checkpoints 0"),
        ({"views": -1}, "--views -1"),
        ({"curve_views": 0}, "--curve-views 0"),
        ({"layers": ()}, "--layers: give at least one"),
        ({"layers": ("denser",)}, "there is no denser"),
        ({"layers": ("eugen:depth_of_water=3",)}, "depth_of_water"),
        ({"device": "tpu"}, "--device tpu"),
    ],
)
def test_wrong_flags_are_named_before_anything_is_trained(options: dict, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        bench(tmp_path, tmp_path, **options).main()
    assert not (tmp_path / "results.json").exists()


def test_the_time_to_a_goal_lies_between_checkpoints() -> None:
    curve = [{"steps": 10 * i, "seconds": float(i), "psnr": psnr} for i, psnr in ((1, 20.0), (2, 28.0), (3, 32.0))]
    assert seconds_to({"curve": curve}, 30.0) == pytest.approx(2.5)
    assert seconds_to({"curve": curve}, 12.0) == pytest.approx(1.0)
    assert seconds_to({"curve": curve}, 33.0) is None and seconds_to({}, 20.0) is None
