"""`eugen-bench rivals`: ours and nerfstudio's own methods on the same scenes, for as many seconds of the processor."""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from eugen_fields.benchmark.common import Case, Results, SweptBenchmark
from eugen_fields.benchmark.common.devices import choose_device, device_name
from eugen_fields.benchmark.quality.rivals.race_report import NEEDED, draw, markdown_table
from eugen_fields.benchmark.quality.scenes.scenes import find_scenes
from eugen_fields.errors import InputError


@dataclass(kw_only=True)
class Rivals(SweptBenchmark):
    """Trains our methods and nerfstudio's own for equal seconds and compares the PSNR of test views on the way.

    On a CPU seconds are the user time of all processors together; on CUDA they are seconds of the wall. Scoring is not
    counted, and all methods are scored on the same pixels. Poses are not refined, and nerfstudio's methods run in plain
    torch where tiny-cuda-nn is not installed."""

    scene: tuple[Path, ...] = (Path("scenes/garden_table"), Path("scenes/hotdog"))
    """Folders of scenes, in Blender's layout or with a transforms.json; each is a scene itself, or holds some."""
    methods: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--method"])] = (
        "eugen-planes-tiny",
        "eugen-mipnerf-tiny",
        "nerfacto",
        "nerfacto:rays=341",
    )
    """Methods: ours, nerfacto or vanilla-nerf, with flags of the model behind colons where wanted, such as
    eugen-planes-tiny:layer=prp. rays=341 sets the rays of a step, of nerfstudio's methods alone."""
    seed: tuple[int, ...] = (0,)
    """Seeds of the runs of each method on each scene."""
    seconds: float | None = None
    """Seconds of training of each run. Default: 120; with --quick 10."""
    checkpoints: int | None = None
    """Times that each run is scored, evenly spread over its seconds. Default: 4; with --quick 2."""
    views: int | None = None
    """Test views that are scored, evenly spread; 0: all. Default: 5; with --quick 2."""
    pixels: int = 10_000
    """Most pixels of each view that are scored: of larger ones every second, every third, ... of both sides."""
    output: Path = Path("outputs/benchmark/rivals")
    """Folder of the training runs."""
    quick: bool = False
    """Ten seconds for each run."""
    json: Path = Path("outputs/benchmark/rivals.json")
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again."""

    steps: tyro.conf.Suppress[int | None] = None
    options: tyro.conf.Suppress[Any] = ()

    defaults: ClassVar = {"seconds": 120.0, "checkpoints": 4, "views": 5}
    quick_defaults: ClassVar = {"seconds": 10.0, "checkpoints": 2, "views": 2}

    def check(self) -> None:
        self.require(1, "methods", "scene", "checkpoints", "pixels")
        self.require(0, "seed", "views")
        if not (self.seconds or 0.0) > 0:
            raise InputError(f"--seconds {self.seconds:g}: it must be more than 0.")

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Trains what is missing in the results; the table and the plot have all runs in the file."""
        from eugen_fields.benchmark.quality.rivals.entrants import entrant_config

        if any(name not in run for run in results.runs for name in NEEDED):
            raise InputError(f"--json {self.json} holds results of another benchmark. Name another file.")
        scenes = find_scenes(self.scene)
        for scene, method in itertools.product(scenes, self.methods):
            entrant_config(method, scene, self.output, 0, self.device_type)  # bad flags are refused first
        cases = []
        for seed, scene, method in itertools.product(self.seed, scenes, self.methods):
            key = {"scene": scene.name, "method": method, "seed": seed, "budget": self.seconds}
            key |= {"checkpoints": self.checkpoints, "views_scored": self.views, "pixels": self.pixels}
            cases.append(Case(key, f"{scene.name}, {method}, seed {seed}", partial(self._race, seed, scene, method)))
        self.sweep(cases, results)
        return markdown_table(results.runs), self.drawn(lambda path: draw(results.runs, path))

    def _race(self, seed: int, scene: Path, method: str) -> dict[str, Any]:
        """Trains and scores one method: an entry of the JSON file."""
        from eugen_fields.benchmark.quality.learning_curve import LearningCurve
        from eugen_fields.benchmark.quality.rivals import entrants

        device = choose_device(self.device)
        config = entrants.entrant_config(method, scene, self.output, seed, self.device_type)
        curve = LearningCurve(
            config,
            self.checkpoints or 1,
            self.views or 0,
            self.seconds,
            clock=_user_seconds if device == "cpu" else time.perf_counter,
            score=lambda trainer: entrants.mean_psnr(trainer, self.views or 0, self.pixels),
        )
        trainer = entrants.run_entrant(config, curve.start)
        return {
            "trained_steps": curve.steps,
            "psnr": curve.points[-1]["psnr"],
            "curve": curve.points,
            "clock": "processor" if device == "cpu" else "wall",
            "parameters": entrants.parameter_count(trainer),
            "device": device_name(device),
        }


def _user_seconds() -> float:
    """Seconds that all processors spent in this process, without those of the operating system."""
    return os.times().user
