"""`eugen-bench mesh`: meshes of finished runs against the scene's photos and its true shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from eugen_fields.benchmark.common import DrawnBenchmark, Results
from eugen_fields.benchmark.common.devices import choose_device
from eugen_fields.benchmark.common.markdown import table
from eugen_fields.benchmark.common.results import run_name
from eugen_fields.errors import InputError


@dataclass(kw_only=True)
class Mesh(DrawnBenchmark):
    """Extracts the meshes of finished runs and holds them against the scene: their silhouettes against the alpha of
    the test views, and their distance to the shape that the scene was rendered from."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs of density and colour."""
    truth: Path | None = None
    """True shape, in the world of the scene's cameras: mesh_ground_truth.npz as scenes/render.py writes it, PLY, OBJ
    or GLB. Default: mesh_ground_truth.npz in the folder of the scene, if there is one."""
    resolution: int = 256
    """Cells along the longest side of the scene box."""
    samples: int = 100_000
    """Points drawn from each surface."""
    json: Path = Path("outputs/benchmark/mesh.json")
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again. The
    meshes go beside it, as PLY."""

    def check(self) -> None:
        self.require(1, "samples")
        if not self.runs:
            raise InputError("give the folder of one run or more.")

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Extracts and measures what is missing in the results, or whose mesh is gone."""
        from eugen_fields.benchmark.mesh.run_mesh import draw_rows, measure_mesh, open_radiance_run

        device, rows = choose_device(self.device), []
        for folder in self.runs:
            run = open_radiance_run(folder, device)
            name = run_name(run.folder)
            key = {"run": name, "step": run.step, "resolution": self.resolution, "samples": self.samples}
            key |= {"seed": self.seed, "truth": None if self.truth is None else str(self.truth)}
            known = results.find(key)
            if known is not None and not Path(known["mesh"]).exists():
                results.runs.remove(known)
            path = self.json.with_name(f"{self.json.stem}_{name.replace('/', '_')}_{run.step}_{self.resolution}.ply")
            settings = {"resolution": self.resolution, "num_samples": self.samples, "seed": self.seed}
            case = run, path, self.truth
            rows.append(results.once(key, lambda case=case, settings=settings: measure_mesh(*case, **settings)))
        return markdown_table(rows), self.drawn(lambda path: draw_rows(rows, path))


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """One row per run; lengths in thousandths of the scene's unit."""
    heads = ("run", "layers", "steps", "cells", "faces", "watertight", "silhouette IoU (least)")
    cells = []
    for row in rows:
        overlap = f"{row['silhouette_iou']:.3f} ({row['least_iou']:.3f})" if row["views"] else ""
        lengths = " / ".join(f"{1000 * row[name]:.1f}" for name in ("accuracy", "completion", "chamfer") if name in row)
        facts = row["run"], row["layer"], f"{row['step']:,}", str(row["resolution"]), f"{row['faces']:,}"
        cells.append((*facts, "yes" if row["watertight"] else "no", overlap, lengths, f"{row['seconds']:.0f}"))
    return table((*heads, "accuracy / completion / Chamfer (1/1000 unit)", "seconds"), cells)
