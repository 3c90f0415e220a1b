"""A trained run to a coloured triangle mesh in a file, with a report beside it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from eugen_fields.meshing.build import color_mesh, find_surface, place, sample_points
from eugen_fields.meshing.files import write_mesh, write_points
from eugen_fields.meshing.options import MeshOptions
from eugen_fields.meshing.region import apply
from eugen_fields.meshing.report import run_facts, surface_facts
from eugen_fields.progress import Progress
from eugen_fields.runs import Run
from eugen_fields.storing.opening import open_run_or_file


def export_mesh(
    run: Run | str | Path,
    output: str | Path | None = None,
    *,
    device: str | None = None,
    step: int | None = None,
    progress: Progress = True,
    **options: Any,
) -> dict[str, Any]:
    """Extracts the surface of a run and writes it, and a report beside it. The arguments are those of `eugen-export`.

    Args:
        run: a path, or a run that is already open (device and step are then not looked at).
        progress: as in eugen_fields.progress.
        options: fields of MeshOptions.

    Returns:
        what the report holds, with `path` in place of `file`: step, method, frame, units, resolution, level, box, where
        (what was looked at), dropped_pieces and dropped_faces (by min_component), vertices, faces, watertight,
        components, area, volume (None unless watertight), extent (edges of the bounding box, 3 numbers) and seconds.
        With points: points, area and extent of the surface.

    Raises:
        InputError: a bad option, no such run, no surface at the level, or the file cannot be written.
    """
    start = time.perf_counter()
    chosen = MeshOptions(**options)
    chosen.check()
    if output is not None:
        chosen.check_output(Path(output).expanduser())
    if isinstance(run, (str, Path)):
        run = open_run_or_file(run, device, step)
    chosen.check_run(run)
    path = run.output_folder / chosen.default_name() if output is None else Path(output).expanduser()
    chosen.check_output(path)
    found = find_surface(run, chosen, progress)
    surface = found.mesh
    vertices = surface.vertices if chosen.frame == "training" else apply(run.world_from_scene, surface.vertices)
    facts = run_facts(run, chosen, found)
    shape = surface_facts(vertices, surface.faces)
    if chosen.points is not None:
        cloud = sample_points(surface, run, chosen, progress)
        facts |= {"points": len(cloud[0]), "area": shape["area"], "extent": shape["extent"]}
        facts["seconds"] = time.perf_counter() - start
        write_points(*cloud, path, {"file": path.name} | facts)
    else:
        mesh = place(color_mesh(surface, run, chosen, progress), run, chosen)
        facts |= {"vertices": len(mesh.vertices), "faces": len(mesh.faces)} | shape
        facts["seconds"] = time.perf_counter() - start
        write_mesh(mesh, path, {"file": path.name} | facts)
    return {"path": path} | facts
