"""`eugen-bench render`: milliseconds of a frame of finished runs, with and without the occupancy grid."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from eugen_fields.benchmark.common.devices import choose_device, device_name
from eugen_fields.benchmark.common.results import find_run, load_results, run_name, save_results
from eugen_fields.errors import InputError

if TYPE_CHECKING:
    from nerfstudio.cameras.rays import RayBundle

    from eugen_fields.models.radiance import RadianceModel
    from eugen_fields.runs import RadianceRun

_FIELD_OF_VIEW = math.radians(40.0)
_ELEVATION = math.radians(25.0)


@dataclass
class Render:
    """Times frames of finished runs in turn: colour and depth, folded networks, the camera on a circle from which all
    that is occupied is in view."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of the runs; times are compared with those of the first."""
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
    seed: int = 0
    """Of the order of the rounds."""
    device: str | None = None
    """cpu or cuda. Default: CUDA if there is one."""
    json: Path = Path("outputs/benchmark/render.json")
    """Results, of several calls if they name the same file; what is already in it is not measured again."""

    def main(self) -> None:
        """Measures what is missing in the JSON file and prints the table."""
        print(self.report())

    def report(self) -> str:
        """Measures, and returns the table."""
        from eugen_fields.runs import RadianceRun, open_run

        self.sizes = self.sizes or ((100, 200) if self.quick else (400, 800))
        self.rounds = self.rounds or (3 if self.quick else 6)
        for name, value in (("sizes", min(self.sizes)), ("views", self.views), ("rounds", self.rounds)):
            if value < 1:
                raise InputError(f"--{name} {value}: it must be at least 1.")
        if not self.runs:
            raise InputError("give the folder of one run or more.")
        device = choose_device(self.device)
        document = load_results(self.json)
        opened = []
        for path in self.runs:
            run = open_run(path, device)
            if not isinstance(run, RadianceRun):
                raise InputError(f"{path} is a run of signed distance; eugen-bench isdf-speed times those.")
            opened.append(run)
        rows = []
        for size in self.sizes:
            key = {
                "runs": [run_name(run.folder) for run in opened],
                "size": size,
                "views": self.views,
                "rounds": self.rounds,
            }
            key |= {"seed": self.seed, "without": self.occupancy, "on": device_name(device)}
            group = find_run(document, key)
            if group is None:
                group = key | {"results": self._measure(opened, size, device)}
                document["runs"].append(group)
                save_results(document, self.json)
            rows.append(group)
        return f"{markdown_table(rows)}\n\nwritten to {self.json}"

    def _measure(self, runs: list[RadianceRun], size: int, device: str) -> list[dict[str, Any]]:
        from tqdm import tqdm

        from eugen_fields.benchmark.common.timing import interleaved, spread
        from eugen_fields.runs.render import build_model

        frames: dict[str, _Frame] = {}
        facts: dict[str, dict[str, Any]] = {}
        for index, run in enumerate(runs):
            rays = [camera_rays(run, size, view / self.views) for view in range(self.views)]
            for grid in (True, False) if self.occupancy else (True,):
                model: Any = build_model(run)
                model.config.output_normals = False
                if model.grid is None and not grid:
                    continue
                if not grid:
                    model.grid = _everywhere(model.grid, run.aabb)
                call = f"{index} {grid}"
                frames[call] = _Frame(model, rays)
                facts[call] = {
                    "run": run_name(run.folder),
                    "layer": run.model_config.layer,
                    "occupancy": grid,
                    "step": run.step,
                }
        rounds = self.rounds or 1
        with tqdm(total=len(frames) * (rounds + 1), desc=f"Rendering {size}x{size}", unit="frame") as bar:
            calls: dict[str, Callable[[], Any]] = {name: frame.render for name, frame in frames.items()}
            times = interleaved(calls, device, rounds, warm_up=1, seed=self.seed, bar=bar)
        results = []
        for name, about in facts.items():
            samples = frames[name].samples / frames[name].rendered
            rate = samples * rounds / sum(times[name])
            results.append(about | {"ms": spread(times[name], 1000.0), "samples": samples, "samples_per_second": rate})
        return results


class _Frame:
    """Renders the views of a model in turn and counts the samples that go through its field."""

    def __init__(self, model: RadianceModel, views: list[RayBundle]) -> None:
        self.model, self.samples, self.rendered = model, 0, 0
        self._views = itertools.cycle(views)
        counted = model.field.trunk if model.field.evaluator.fused is None else model.field
        counted.register_forward_hook(self._count)

    def _count(self, network: Any, inputs: Any, outputs: Any) -> None:
        self.samples += inputs[0].shape[:-1].numel()

    def render(self) -> None:
        from eugen_fields.runs.render import render_chunks

        self.rendered += 1
        for _ in render_chunks(self.model, next(self._views), self.model.config.eval_num_rays_per_chunk):
            pass


def camera_rays(run: RadianceRun, size: int, turn: float) -> RayBundle:
    """Rays of a frame of size x size pixels on the run's device.

    The camera looks at the middle of what is occupied, from so far away that all of it is in view.

    Args:
        turn: of its circle around the vertical, from 0 to 1.
    """
    import torch
    from nerfstudio.cameras.cameras import Cameras

    bounds = run.grid.bounds.cpu()
    center, radius = bounds.mean(dim=0), float((bounds[1] - bounds[0]).norm()) / 2
    angle, distance = 2.0 * math.pi * turn, radius / math.sin(_FIELD_OF_VIEW / 2)
    level = math.cos(_ELEVATION)
    back = torch.tensor([level * math.cos(angle), level * math.sin(angle), math.sin(_ELEVATION)])
    right = torch.tensor([-math.sin(angle), math.cos(angle), 0.0])
    pose = torch.stack([right, torch.linalg.cross(back, right), back, center + distance * back], dim=1)
    focal = 0.5 * size / math.tan(_FIELD_OF_VIEW / 2)
    camera = Cameras(pose[None], focal, focal, size / 2, size / 2, size, size)
    return camera.generate_rays(0, keep_shape=True).to(run.field.aabb.device)


def _everywhere(grid: Any, aabb: Any) -> Any:
    """A copy of an occupancy grid that knows of no empty cell."""
    full = copy.deepcopy(grid)
    full.occupied.fill_(True)
    full.bounds.copy_(aabb)
    return full


def markdown_table(groups: list[dict[str, Any]]) -> str:
    """One row a run, size and use of the occupancy grid."""
    lines = [
        "| run | layers | frame | occupancy grid | ms (quartiles) | first run / this | samples a frame "
        "| million samples/s | on |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for group in groups:
        firsts: dict[bool, float] = {}
        for result in group["results"]:
            ms = result["ms"]
            first = firsts.setdefault(result["occupancy"], ms["median"])
            lines.append(
                f"| {result['run']} | {result['layer']} | {group['size']}x{group['size']} "
                f"| {'with' if result['occupancy'] else 'without'} "
                f"| {ms['median']:.1f} ({ms['lower']:.1f} to {ms['upper']:.1f}) | {first / ms['median']:.2f} "
                f"| {result['samples']:,.0f} | {result['samples_per_second'] / 1e6:.2f} | {group['on']} |"
            )
    return "\n".join(lines)
