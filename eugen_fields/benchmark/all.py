"""`eugen-bench all`: the quick form of every benchmark, in one folder and one report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common import Benchmark
from eugen_fields.benchmark.common.devices import choose_device, device_name
from eugen_fields.benchmark.common.results import environment
from eugen_fields.benchmark.distance.isdf import ISDF
from eugen_fields.benchmark.layers.layers import Layers
from eugen_fields.benchmark.quality.comparison import Train
from eugen_fields.benchmark.quality.size import Size
from eugen_fields.benchmark.speed.isdf_speed import ISDFSpeed
from eugen_fields.benchmark.speed.render import Render
from eugen_fields.errors import InputError
from eugen_fields.writing import written_beside

_SHOWN = ("dense", "eugen", "prp")
"""Trained networks of which frames are rendered."""


@dataclass(kw_only=True)
class All(Benchmark):
    """Runs the quick form of every benchmark and writes one Markdown report beside their JSON files and plots.

    What is already in the folder is not done again, so a broken-off call can be repeated. Takes about half an hour on
    two CPU cores."""

    output: Path = Path("outputs/benchmark/all")
    """Folder of the report (report.md), the JSON files, the plots and the runs."""
    scene: Path = Path("scenes/hotdog")
    """Folder of the scene for training, sizes and frames."""
    data: Path = Path("scenes/room")
    """Folder of the depth stream for the signed distances."""
    seed: tuple[int, ...] = (0,)
    """Seeds of the trained networks; the other benchmarks take the first."""

    def check(self) -> None:
        self.require(0, "seed")

    def report(self) -> str:
        """Runs one benchmark after the other and writes the report after each; returns where it is."""
        self.complete()
        device = choose_device(self.device)
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to --output {self.output}: {error.strerror or error}.") from None
        about = environment() | {"device": device_name(device)}
        parts = ["# eugen-bench all", "\n".join(f"- {name}: {value}" for name, value in about.items())]
        report = self.output / "report.md"
        for title, make in self.benchmarks(device).items():
            print(f"== {title}", flush=True)
            start = time.perf_counter()
            try:
                text = make().report()
            except InputError as error:
                text = f"Not measured: {error.message}"
                print(text, flush=True)
            parts.append(f"## {title}\n\n{text}\n\n({time.perf_counter() - start:.0f} s)")
            parts += [f"![{title}]({path.name})" for path in self._new_plots(parts)]
            with written_beside(report) as unfinished:
                unfinished.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        return f"written to {report}"

    def benchmarks(self, device: str) -> dict[str, Callable[[], Any]]:
        """What makes each benchmark, by its title. They are made when their turn comes: frames are rendered of runs
        that were trained before."""
        seed, runs = self.seed[0], self.output / "runs"
        common: dict[str, Any] = {"device": device}
        field: dict[str, Any] = common | {"quick": True, "scene": self.scene, "output": runs}
        train = Train(seed=self.seed, json=self.output / "train.json", **field)
        rooms: dict[str, Any] = common | {"data": self.data}
        return {
            "Layers": lambda: Layers(quick=True, seed=seed, json=self.output / "layers.json", **common),
            "Training": lambda: train,
            "Frames": lambda: Render(
                runs=tuple(Path(run["run"]) for run in train.run_all() if run["layer"] in _SHOWN)[: len(_SHOWN)],
                quick=True,
                seed=seed,
                json=self.output / "render.json",
                **common,
            ),
            "Sizes": lambda: Size(seed=seed, json=self.output / "size.json", **field),
            "Signed distance": lambda: ISDF(
                seed=(seed,), layer=("dense", "eugen"), output=runs, json=self.output / "isdf.json", **rooms
            ),
            "Signed distance, speed": lambda: ISDFSpeed(
                rounds=5, seed=seed, json=self.output / "isdf_speed.json", **rooms
            ),
        }

    def _new_plots(self, parts: list[str]) -> list[Path]:
        """Plots in the folder that the report does not show yet."""
        return [
            path for path in sorted(self.output.glob("*.png")) if not any(f"({path.name})" in part for part in parts)
        ]
