"""Frames of trained fields, timed in turn: colour and depth, with and without the occupancy grid."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from tqdm import tqdm

from eugen_fields.benchmark.common.results import run_name
from eugen_fields.benchmark.common.timing import interleaved, spread
from eugen_fields.errors import InputError
from eugen_fields.models.radiance import RadianceModel
from eugen_fields.runs import RadianceRun
from eugen_fields.runs.render import build_model, render_chunks
from eugen_fields.storing.opening import open_run_or_file

_FIELD_OF_VIEW = math.radians(40.0)
_ELEVATION = math.radians(25.0)


def open_radiance_runs(folders: tuple[Path, ...], device: str) -> list[RadianceRun]:
    """The runs in folders, on a device. Raises InputError for runs of signed distance."""
    opened = []
    for path in folders:
        run = open_run_or_file(path, device)
        if not isinstance(run, RadianceRun):
            raise InputError(f"{path} is a run of signed distance; eugen-bench isdf-speed times those.")
        opened.append(run)
    return opened


def time_frames(
    runs: list[RadianceRun], size: int, device: str, *, views: int, rounds: int, without_grid: bool, seed: int
) -> list[dict[str, Any]]:
    """Times frames of size x size pixels of all runs in turn.

    Args:
        views: places of the camera, taken in turn.
        rounds: frames of each run.
        without_grid: time each run a second time with every ray followed through all of the scene box.
        seed: of the order of the rounds.

    Returns:
        for each run and use of the grid: run, layer, occupancy, step, ms (a spread), samples per frame and
        samples_per_second.
    """
    frames: dict[str, _Frame] = {}
    facts: dict[str, dict[str, Any]] = {}
    for index, run in enumerate(runs):
        rays = [camera_rays(run, size, view / views) for view in range(views)]
        for grid in (True, False) if without_grid else (True,):
            model: Any = build_model(run)
            model.config.output_normals = False
            if model.grid is None and not grid:
                continue
            if not grid:
                model.grid = _everywhere(model.grid, run.aabb)
            call = f"{index} {grid}"
            frames[call] = _Frame(model, rays)
            about = {"run": run_name(run.folder), "layer": run.model_config.layer}
            facts[call] = about | {"occupancy": grid, "step": run.step}
    with tqdm(total=len(frames) * (rounds + 1), desc=f"Rendering {size}x{size}", unit="frame") as bar:
        calls: dict[str, Callable[[], Any]] = {name: frame.render for name, frame in frames.items()}
        times = interleaved(calls, device, rounds, warm_up=1, seed=seed, bar=bar)
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
        self.rendered += 1
        for _ in render_chunks(self.model, next(self._views), self.model.config.eval_num_rays_per_chunk):
            pass


def camera_rays(run: RadianceRun, size: int, turn: float) -> RayBundle:
    """Rays of a frame of size x size pixels on the run's device.

    The camera looks at the middle of what is occupied, from so far away that all of it is in view.

    Args:
        turn: share of the circle around the vertical, from 0 to 1.
    """
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
