"""The mesh of one trained run, held against its scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eugen_fields.benchmark.common.results import run_name
from eugen_fields.benchmark.common.scoring import scene_data
from eugen_fields.benchmark.distance.distance_truth import MESH
from eugen_fields.benchmark.mesh.mesh_picture import draw_turntables
from eugen_fields.benchmark.mesh.mesh_scores import read_mesh, shape_errors, silhouette_overlaps
from eugen_fields.errors import InputError
from eugen_fields.meshing.export_mesh import export_mesh
from eugen_fields.methods import METHODS
from eugen_fields.runs import RadianceRun, open_run, read_config
from eugen_fields.runs.restore import restore_config


def open_radiance_run(folder: Path, device: str) -> RadianceRun:
    """The run in a folder, on a device. Raises InputError for runs of signed distance."""
    run = open_run(folder, device)
    if not isinstance(run, RadianceRun):
        raise InputError(f"{folder} is a run of signed distance; eugen-bench isdf measures the meshes of those.")
    return run


def measure_mesh(
    run: RadianceRun, path: Path, truth: Path | None, *, resolution: int, num_samples: int, seed: int
) -> dict[str, Any]:
    """Exports the mesh of a run and measures it: an entry of the JSON file, lengths in units of the scene.

    Args:
        path: of the mesh, PLY.
        truth: file of the true shape; None takes mesh_ground_truth.npz of the scene, if there is one.
        resolution: cells along the longest side of the scene box.
        num_samples: points drawn from each surface; seed: of them.
    """
    print(f"{run_name(run.folder)}, {resolution} cells", flush=True)
    config_path = run.folder / "config.yml"
    config = restore_config(read_config(config_path), run.method_name, config_path, METHODS)
    data = scene_data(run.folder, config, "cpu")
    facts = export_mesh(run, path, resolution=resolution)
    mesh = read_mesh(path)
    world_from_scene = run.world_from_scene.cpu().double().numpy()
    in_scene = mesh.copy().apply_transform(np.linalg.inv(world_from_scene))
    overlaps = silhouette_overlaps(in_scene, data.fixed_indices_eval_dataloader)
    row = {entry: facts[entry] for entry in ("vertices", "faces", "watertight", "components", "seconds")}
    row |= {"layer": run.model_config.layer, "mesh": str(path), "bytes": path.stat().st_size}
    row |= {"views": len(overlaps)}
    if overlaps:
        row |= {"silhouette_iou": float(np.mean(overlaps)), "least_iou": min(overlaps)}
    beside = Path(data.config.data) / MESH
    truth = truth or (beside if beside.exists() else None)
    if truth is not None:
        places = data.train_dataset.cameras.camera_to_worlds[:, :3, 3].double().numpy()
        places = places @ world_from_scene[:3, :3].T + world_from_scene[:3, 3]
        here = Path.cwd()
        row["held_against"] = str(truth.relative_to(here) if truth.is_relative_to(here) else truth)
        row |= shape_errors(mesh, read_mesh(truth), places, num_samples=num_samples, seed=seed)
    return row


def draw_rows(rows: list[dict[str, Any]], path: Path) -> None:
    """Writes a PNG with the measured meshes, and the true shapes, from all around."""
    meshes = {f"{row['layer']}, {row['run']}": read_mesh(Path(row["mesh"])) for row in rows}
    truths = {row["held_against"]: "truth" for row in rows if "held_against" in row}
    draw_turntables(meshes | {title: read_mesh(Path(truth)) for truth, title in truths.items()}, path)
