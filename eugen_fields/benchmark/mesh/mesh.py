"""`eugen-bench mesh`: meshes of finished runs against the scene's photos and its true shape."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from eugen_fields.benchmark.common.results import find_run, load_results, run_name, save_results
from eugen_fields.errors import InputError

if TYPE_CHECKING:
    from eugen_fields.runs import RadianceRun


@dataclass
class Mesh:
    """Extracts the meshes of finished runs and holds them against the scene: their silhouettes against the alpha of
    the test views, and their distance to the shape that the scene was rendered from."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs of density and colour."""
    truth: Path | None = None
    """The true shape, in the world of the scene's cameras: mesh_ground_truth.npz as scenes/render.py writes it, PLY,
    OBJ or GLB. Default: mesh_ground_truth.npz in the folder of the scene, if there is one."""
    resolution: int = 256
    """Cells along the longest side of the scene box."""
    samples: int = 100_000
    """Points drawn from each surface."""
    seed: int = 0
    """Of these points."""
    picture: bool = True
    """Draw the meshes from all around into a PNG beside the JSON file."""
    device: str | None = None
    """cpu or cuda. Default: CUDA if there is one."""
    json: Path = Path("outputs/benchmark/mesh.json")
    """Results, of several calls if they name the same file; what is already in it is not measured again. The meshes go
    beside it, as PLY."""

    def main(self) -> None:
        """Measures what is missing in the JSON file, prints the table and draws the picture."""
        print(self.report())

    def report(self) -> str:
        """Measures, draws, and returns the table."""
        from eugen_fields.benchmark.common.devices import choose_device
        from eugen_fields.benchmark.mesh.mesh_picture import draw_turntables
        from eugen_fields.benchmark.mesh.mesh_scores import read_mesh
        from eugen_fields.runs import RadianceRun, open_run

        if not self.runs:
            raise InputError("give the folder of one run or more.")
        if self.samples < 1:
            raise InputError(f"--samples {self.samples}: it must be at least 1.")
        device, document = choose_device(self.device), load_results(self.json)
        rows = []
        for path in self.runs:
            run = open_run(path, device)
            if not isinstance(run, RadianceRun):
                raise InputError(f"{path} is a run of signed distance; eugen-bench isdf measures the meshes of those.")
            name = run_name(run.folder)
            key = {"run": name, "step": run.step, "resolution": self.resolution, "samples": self.samples}
            key |= {"seed": self.seed, "truth": None if self.truth is None else str(self.truth)}
            row = find_run(document, key)
            if row is None or not Path(row["mesh"]).exists():
                document["runs"] = [other for other in document["runs"] if other is not row]
                row = key | self._measure(run, name)
                document["runs"].append(row)
                save_results(document, self.json)
            rows.append(row)
        lines = [markdown_table(rows), f"\nwritten to {self.json}"]
        if self.picture:
            picture = self.json.with_suffix(".png")
            meshes = {f"{row['layer']}, {row['run']}": read_mesh(Path(row["mesh"])) for row in rows}
            truths = {row["held_against"]: "truth" for row in rows if "held_against" in row}
            draw_turntables(meshes | {title: read_mesh(Path(path)) for path, title in truths.items()}, picture)
            lines.append(f"drawn to {picture}")
        return "\n".join(lines)

    def _measure(self, run: RadianceRun, name: str) -> dict[str, Any]:
        import numpy as np

        from eugen_fields.benchmark.distance.distance_truth import MESH
        from eugen_fields.benchmark.mesh.mesh_scores import read_mesh, shape_errors, silhouette_overlaps
        from eugen_fields.benchmark.quality.scoring import scene_data
        from eugen_fields.meshing.export_mesh import export_mesh
        from eugen_fields.methods import METHODS
        from eugen_fields.runs import read_config
        from eugen_fields.runs.restore import restore_config

        config_path = run.folder / "config.yml"
        config = restore_config(read_config(config_path), run.method_name, config_path, METHODS)
        data = scene_data(config, "cpu")
        path = self.json.with_name(f"{self.json.stem}_{name.replace('/', '_')}_{run.step}_{self.resolution}.ply")
        print(f"{name}, {self.resolution} cells", flush=True)
        facts = export_mesh(run, path, resolution=self.resolution)
        mesh = read_mesh(path)
        world_from_scene = run.world_from_scene.cpu().double().numpy()
        in_scene = mesh.copy().apply_transform(np.linalg.inv(world_from_scene))
        overlaps = silhouette_overlaps(in_scene, data.fixed_indices_eval_dataloader)
        row = {entry: facts[entry] for entry in ("vertices", "faces", "watertight", "components", "seconds")}
        row |= {"layer": run.model_config.layer, "mesh": str(path), "bytes": os.path.getsize(path)}
        row |= {"views": len(overlaps)}
        if overlaps:
            row |= {"silhouette_iou": float(np.mean(overlaps)), "least_iou": min(overlaps)}
        beside = Path(config.pipeline.datamanager.data or ".") / MESH
        truth = self.truth or (beside if beside.exists() else None)
        if truth is not None:
            places = data.train_dataset.cameras.camera_to_worlds[:, :3, 3].double().numpy()
            places = places @ world_from_scene[:3, :3].T + world_from_scene[:3, 3]
            here = Path.cwd()
            row["held_against"] = str(truth.relative_to(here) if truth.is_relative_to(here) else truth)
            row |= shape_errors(mesh, read_mesh(truth), places, num_samples=self.samples, seed=self.seed)
        return row


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """One row a run; lengths in thousandths of the scene's unit."""
    lines = [
        "| run | layers | steps | cells | faces | watertight | silhouette IoU (least) "
        "| accuracy / completion / Chamfer (1/1000 unit) | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        overlap = f"{row['silhouette_iou']:.3f} ({row['least_iou']:.3f})" if row["views"] else ""
        distances = [f"{1000 * row[name]:.1f}" for name in ("accuracy", "completion", "chamfer") if name in row]
        lines.append(
            f"| {row['run']} | {row['layer']} | {row['step']:,} | {row['resolution']} | {row['faces']:,} "
            f"| {'yes' if row['watertight'] else 'no'} | {overlap} | {' / '.join(distances)} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines)
