"""`eugen-bench frontier`: PSNR against what a network costs, for networks of many kinds and sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from eugen_fields.benchmark.common import Case, Results, SweptBenchmark
from eugen_fields.benchmark.common.markdown import table
from eugen_fields.benchmark.common.results import environment, source_commit
from eugen_fields.benchmark.quality.frontier.frontier_contestants import METHOD, Network, chosen_networks, known
from eugen_fields.benchmark.quality.frontier.frontier_plot import draw
from eugen_fields.benchmark.quality.frontier.frontier_report import ABOUT, TITLE, markdown_report
from eugen_fields.benchmark.quality.scenes.scenes import find_scenes, reduction
from eugen_fields.errors import InputError

if TYPE_CHECKING:
    from eugen_fields.benchmark.quality.frontier.frontier_trial import FrontierTrial

_NEEDED = ("scene", "contestant", "layer", "options", "size", "views_scored", "seed", "trained_steps", "psnr", "ssim")
_NEEDED += ("collapsed", "recoveries", "multiplications", "transform_multiplications", "parameters", "compact_bytes")
_NEEDED += ("train_seconds",)
"""What tables and plots need of a run."""


@dataclass(kw_only=True)
class Frontier(SweptBenchmark):
    """Trains networks of many kinds and sizes alike, and compares their PSNR at equal multiplications per sample, equal
    parameters and equal bytes with that of narrow dense networks.

    The method is eugen-nerf-tiny with its default optimiser. A call that was broken off goes on where it stopped;
    other scenes, seeds, steps and contestants are added to the same JSON file, and tables and plots show all of it."""

    scene: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=["--scenes"])] = (Path("scenes/hotdog"),)
    """Folders of scenes; each is a scene itself, or holds some."""
    contestants: Annotated[tuple[str, ...] | None, tyro.conf.arg(aliases=["--contestant"])] = None
    """Names of the networks to train; --list shows them. Default: all."""
    show: Annotated[bool, tyro.conf.arg(name="list"), tyro.conf.FlagCreatePairsOff] = False
    """List the contestants with their costs, and train nothing."""
    seed: Annotated[tuple[int, ...], tyro.conf.arg(aliases=["--seeds"])] = (0, 1)
    """Seeds of the runs of each network on the first scene."""
    other_seed: Annotated[tuple[int, ...], tyro.conf.arg(aliases=["--other-seeds"])] = (0,)
    """Seeds of the runs of each network on all scenes but the first."""
    options: tuple[str, ...] = ()
    """Flags of the model for all runs, as name=value: grid_resolution=32."""
    steps: int | None = None
    """Training steps of each run; networks that are shrunk from a dense one share theirs with it. Default: 1200."""
    size: int | None = None
    """Largest width of the images, pixels: wider ones are reduced by the smallest whole factor that will do, to the
    means of blocks of pixels. Default: 200."""
    views: int | None = None
    """Test views of each scene that are scored, evenly spread; 0: all. Default: all."""
    output: Path = Path("outputs/benchmark/frontier")
    """Folder of the training runs."""
    json: Path = Path("outputs/benchmark/frontier.json")
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again."""

    defaults: ClassVar = {"steps": 1200, "size": 200, "views": 0}

    def check(self) -> None:
        self.require(1, "scene", "steps", "size")
        self.require(0, "seed", "views")
        if self.other_seed:
            self.require(0, "other_seed")
        if self.contestants is not None:
            self.require(0, "contestants")
        chosen_networks(self.contestants)

    def report(self) -> str:
        """Measures what the JSON file lacks and returns the tables, or with --list the contestants."""
        if not self.show:
            return super().report()
        self.complete()
        return _listing(chosen_networks(self.contestants))

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Trains what is missing in the results; the tables and the plot have all runs in the file."""
        if any(name not in run for run in results.runs for name in _NEEDED):
            raise InputError(f"--json {self.json} holds results of another benchmark. Name another file.")
        self.sweep(list(self._cases()), results)
        plots = self.drawn(lambda path: draw(known(results.runs), path))
        figures = [[path.name, "PSNR against costs", ""] for path in plots]
        results.document.setdefault("report", {"title": TITLE, "about": list(ABOUT), "figures": figures, "notes": []})
        results.save()
        return markdown_report(results.runs), plots

    def _cases(self) -> Iterator[Case]:
        """What names a run in the JSON file, and what trains it: all scenes with their first seed, then with their
        second, so that a call that is broken off leaves whole tables. Raises InputError where there is none yet."""
        from eugen_fields.benchmark.quality.frontier.frontier_trial import FrontierTrial

        networks, size, steps = chosen_networks(self.contestants), self.size or 1, self.steps or 1
        scenes = find_scenes(self.scene)
        factors = {scene: reduction(scene, METHOD, size) for scene in scenes}
        for rank in range(max(len(self.seed), len(self.other_seed))):
            for scene in scenes:
                seeds = self.seed if scene == scenes[0] else self.other_seed
                factor, width = factors[scene]
                for network in networks if rank < len(seeds) else ():
                    key = {"scene": scene.name, "contestant": network.name, "layer": network.layer}
                    key |= {"options": list(self.options), "steps": steps, "size": size, "width": width}
                    trial = FrontierTrial(
                        network,
                        scene=scene,
                        steps=steps,
                        output=self.output / f"{steps}-steps-{size}",
                        options=self.options,
                        scale_factor=1 / factor,
                        views=self.views or 0,
                        device_type=self.device_type,
                    )
                    key |= {"views_scored": self.views, "seed": seeds[rank]}
                    words = (scene.name, network.name, *self.options, f"seed {seeds[rank]}", f"{steps} steps")
                    yield Case(key, ", ".join(words), partial(_measured, trial, seeds[rank]))


def _measured(trial: FrontierTrial, seed: int) -> dict[str, Any]:
    """An entry of the JSON file, with what it was made by."""
    found = trial.run(seed)
    return found | {name: environment()[name] for name in ("torch", "threads")} | {"commit": source_commit()}


def _listing(networks: list[Network]) -> str:
    from eugen_fields.benchmark.quality.frontier.frontier_costs import build, costs

    rows = []
    for network in networks:
        of = costs(build(network))
        numbers = (f"{of[name]:,}" for name in ("multiplications", "parameters", "compact_bytes"))
        rows.append((network.name, network.title, network.layer, *numbers))
    return table(("name", "network", "flags", "multiplications per sample", "parameters", "bytes"), rows)
