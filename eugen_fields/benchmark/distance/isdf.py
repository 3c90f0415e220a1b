"""`eugen-bench isdf`: signed distance from a depth stream, against the truth and against TSDF fusion."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eugen_fields.benchmark.common import Case, Results, SweptBenchmark
from eugen_fields.benchmark.common.contestants import parse_options
from eugen_fields.benchmark.distance.sdf_report import markdown_table
from eugen_fields.layers.names import LayerName

if TYPE_CHECKING:
    from eugen_fields.benchmark.distance.evaluation import Evaluation


@dataclass(kw_only=True)
class ISDF(SweptBenchmark):
    """Maps a depth stream with layer kinds and seeds, and measures distances, gradients and the mesh against the truth.

    The folder needs distance_ground_truth.npz (points (N, 3), distance (N,), metres) and mesh_ground_truth.npz
    (vertices, triangles) beside the recording."""

    data: Path = Path("scenes/room")
    """Folder of the recording."""
    method: Literal["eugen-isdf-tiny", "eugen-isdf", "prp-isdf"] = "eugen-isdf-tiny"
    """Method whose network, budget and clock all runs share."""
    layer: tuple[LayerName, ...] = ("eugen",)
    """Layer kinds to compare."""
    seed: tuple[int, ...] = (0,)
    """Seeds of the runs of each layer kind."""
    options: tuple[str, ...] = ()
    """Flags of the model for all runs, as name=value: layer_width=64 replace=2,4."""
    clock: Literal["steps", "wall", "offline"] = "steps"
    """Clock of the stream, as in ns-train: steps, wall time, or all frames at once."""
    steps: int | None = None
    """Training steps of each run. Default: as many as the stream takes, the same for all."""
    checks: int = 10
    """Measurements of the errors along the stream."""
    voxel_size: float = 0.02
    """Side of a voxel of the TSDF fusion, metres."""
    mesh_resolution: int = 128
    """Cells of the mesh along the longest side of what was seen."""
    json: Path = Path("outputs/benchmark/isdf.json")
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again."""

    def check(self) -> None:
        parse_options(self.options)  # bad ones are refused before anything is trained
        self.require(1, "checks", "layer", "mesh_resolution")
        self.require(0, "seed")

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Fuses and maps what is missing in the results; slices and meshes are drawn of what this process has run."""
        from eugen_fields.benchmark.distance.evaluation import Evaluation

        evaluation = Evaluation(self.data, self.checks, self.mesh_resolution)
        baseline = {"name": "TSDF", "data": str(self.data), "voxel_size": self.voxel_size, "checks": self.checks}
        tsdf = results.once(baseline, lambda: evaluation.fuse(self.voxel_size))
        cases = []
        for layer, seed in itertools.product(self.layer, self.seed):
            key = {"method": self.method, "layer": layer, "seed": seed, "options": list(self.options)}
            key |= {"asked_steps": self.steps, "clock": self.clock, "data": str(self.data)}
            name = " ".join((self.method, layer, *self.options))
            about = {"name": name, "tsdf_visible_error_cm": tsdf["visible_error_cm"]}
            measured_by = evaluation if self.engine == "local" else None
            cases.append(Case(key, f"{name}, seed {seed}", partial(self._map, about, layer, seed, measured_by)))
        self.sweep(cases, results)
        self._summarise(results)
        plots = evaluation.draw(results.runs, self.json) if self.plot else []
        return markdown_table(results.runs), plots

    def _map(self, about: dict[str, Any], layer: str, seed: int, evaluation: Evaluation | None) -> dict[str, Any]:
        """Maps the stream once: an entry of the JSON file. In another process there is no evaluation yet."""
        from eugen_fields.benchmark.distance.evaluation import Evaluation
        from eugen_fields.benchmark.distance.mapping_run import map_stream

        settings: dict[str, Any] = {"method": self.method, "scene": self.data, "output": self.output}
        settings |= {"steps": self.steps, "options": self.options, "clock": self.clock}
        evaluation = evaluation or Evaluation(self.data, self.checks, self.mesh_resolution)
        return about | map_stream(evaluation, layer=layer, seed=seed, device_type=self.device_type, **settings)

    def _summarise(self, results: Results) -> None:
        """Puts the figures of the last run that was asked for at the top of the file."""
        asked = [run for run in results.runs if run.get("layer") == self.layer[-1]]
        if asked:
            names = ("visible_error_cm", "surface_error_cm", "tsdf_visible_error_cm", "seconds", "steps", "parameters")
            results.document |= {name: asked[-1][name] for name in names}
            results.save()
