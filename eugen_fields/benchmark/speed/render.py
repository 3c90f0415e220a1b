"""`eugen-bench render`: milliseconds of a frame of finished runs, with and without the occupancy grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import tyro

from eugen_fields.benchmark.common import RecordedBenchmark, Results
from eugen_fields.benchmark.common.devices import choose_device, device_name
from eugen_fields.benchmark.common.markdown import table
from eugen_fields.benchmark.common.results import run_name
from eugen_fields.errors import InputError


@dataclass(kw_only=True)
class Render(RecordedBenchmark):
    """Times frames of finished runs in turn: colour and depth, folded networks, the camera on a circle from which all
    that is occupied is in view."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of the runs, or field files; times are compared with those of the first."""
    sizes: tuple[int, ...] | None = None
    """Pixels along the sides of the frames. Default: 400 800; with --quick 100 200."""
    occupancy: bool = True
    """Also measure without the occupancy grid: every ray is then followed through all of the scene box."""
    views: int = 3
    """Places of the camera, taken in turn."""
    rounds: int | None = None
    """Frames of each run and size. Default: 6; with --quick 3."""
    quick: bool = False
    """Small frames, few rounds."""
    json: Path = Path("outputs/benchmark/render.json")
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again."""

    defaults: ClassVar = {"sizes": (400, 800), "rounds": 6}
    quick_defaults: ClassVar = {"sizes": (100, 200), "rounds": 3}

    def check(self) -> None:
        self.require(1, "sizes", "views", "rounds")
        if not self.runs:
            raise InputError("give the folder of one run or more.")

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Times the sizes that are missing in the results."""
        from eugen_fields.benchmark.speed import frames

        device, rounds = choose_device(self.device), self.rounds or 1
        runs = frames.open_radiance_runs(self.runs, device)
        key: dict[str, Any] = {"runs": [run_name(run.folder) for run in runs]}
        key |= {"views": self.views, "rounds": rounds, "seed": self.seed, "without": self.occupancy}
        key |= {"on": device_name(device)}
        settings: dict[str, Any] = {"views": self.views, "rounds": rounds, "seed": self.seed}
        settings |= {"without_grid": self.occupancy}
        groups = []
        for size in self.sizes or ():

            def time_size(size: int = size) -> dict[str, Any]:
                return {"results": frames.time_frames(runs, size, device, **settings)}

            groups.append(results.once(key | {"size": size}, time_size))
        return markdown_table(groups), []


def markdown_table(groups: list[dict[str, Any]]) -> str:
    """One row per run, size and use of the occupancy grid."""
    heads = ("run", "layers", "frame", "occupancy grid", "ms (quartiles)", "first run / this", "samples per frame")
    rows = []
    for group in groups:
        firsts: dict[bool, float] = {}
        for result in group["results"]:
            ms, grid = result["ms"], result["occupancy"]
            first = firsts.setdefault(grid, ms["median"])
            rows.append(
                (
                    result["run"],
                    result["layer"],
                    f"{group['size']}x{group['size']}",
                    "with" if grid else "without",
                    f"{ms['median']:.1f} ({ms['lower']:.1f} to {ms['upper']:.1f})",
                    f"{first / ms['median']:.2f}",
                    f"{result['samples']:,.0f}",
                    f"{result['samples_per_second'] / 1e6:.2f}",
                    group["on"],
                )
            )
    return table((*heads, "million samples/s", "on"), rows)
