"""The eugen-export command: a trained run to a coloured triangle mesh in a file."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    import trimesh

    from eugen_fields.runs import RadianceRun, Run, SDFRun


@dataclass
class ExportOptions:
    """Extracts the surface of a trained run as a triangle mesh with normals: watertight and with vertex colours for
    fields of density and colour; for fields of signed distance cut to where surfaces were seen."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run (it holds config.yml), or a folder above exactly one run. May still be training."""
    output: Path | None = None
    """File to write; its ending gives the format: .ply, .glb or .obj. None: mesh.ply in the run's folder."""
    resolution: int = 256
    """Lattice cells along the longest side of the scene box."""
    level: float | None = None
    """Density at the surface, per unit of the training frame; None: found by following rays through the field. Of
    signed distances: metres in front of the surface (None: 0, the surface itself)."""
    min_component: float = 0.02
    """Drops separate pieces with less than this share of the largest one's triangles. 0: keeps all; 1: the largest."""
    region: Literal["seen", "box"] = "seen"
    """Of signed distances. seen: only surfaces near where some were seen; box: everything in the scene box, closed at
    its sides."""
    frame: Literal["world", "training"] = "world"
    """Coordinates: those of the data set's own poses, or those the network was trained in."""
    device: str | None = None
    """Device of the network, such as cpu or cuda:0. None: CUDA if there is one, else the CPU."""
    step: int | None = None
    """Training step of the checkpoint. None: the newest."""


def export_mesh(
    run: Run | str | Path,
    output: str | Path | None = None,
    *,
    resolution: int = 256,
    level: float | None = None,
    min_component: float = 0.02,
    region: Literal["seen", "box"] = "seen",
    frame: Literal["world", "training"] = "world",
    device: str | None = None,
    step: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Extracts the surface of a run and writes it. The arguments are those of `eugen-export`.

    Args:
        run: a path, or a run that is already open (device and step are then not looked at).
        progress: shows a progress bar on a terminal.

    Returns:
        path, step, vertices, faces, watertight, components, extent (edges of the bounding box, 3 numbers), level and
        seconds.

    Raises:
        InputError: a bad option, no such run, no surface at the level, or the file cannot be written.
    """
    from eugen_fields.errors import InputError
    from eugen_fields.meshing.files import check_output, write_mesh
    from eugen_fields.runs import SDFRun, open_run

    start = time.perf_counter()
    if resolution < 2:
        raise InputError(f"--resolution is {resolution}; it must be at least 2.")
    if not 0 <= min_component <= 1:
        raise InputError(f"--min-component is {min_component}; it must lie between 0 and 1.")
    if isinstance(run, (str, Path)):
        run = open_run(run, device, step)
    if level is not None and not (math.isfinite(level) and (level > 0 or isinstance(run, SDFRun))):
        raise InputError(f"--level is {level}; it must be a positive density.")
    path = run.folder / "mesh.ply" if output is None else Path(output).expanduser()
    check_output(path)
    mesh, level = build_mesh(
        run,
        resolution=resolution,
        level=level,
        min_component=min_component,
        region=region,
        frame=frame,
        progress=progress,
    )
    write_mesh(mesh, path)
    return {
        "path": path,
        "step": run.step,
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "watertight": bool(mesh.is_watertight),
        "components": int(mesh.body_count),
        "extent": tuple(float(side) for side in mesh.extents),
        "level": level,
        "seconds": time.perf_counter() - start,
    }


def build_mesh(
    run: Run,
    *,
    resolution: int = 256,
    level: float | None = None,
    min_component: float = 0.02,
    region: Literal["seen", "box"] = "seen",
    frame: Literal["world", "training"] = "world",
    progress: bool = True,
) -> tuple[trimesh.Trimesh, float]:
    """The mesh of an open run, and the level it was cut at. Arguments as in `eugen-export`.

    Raises:
        InputError: there is no surface at the level.
    """
    from eugen_fields.runs import RadianceRun, SDFRun

    if isinstance(run, RadianceRun):
        mesh, level = _radiance_mesh(run, resolution, level, min_component, progress)
    else:
        assert isinstance(run, SDFRun)
        level = level or 0.0
        mesh = _sdf_mesh(run, resolution, level, min_component, region, progress)
    if frame == "world":
        mesh.apply_transform(run.world_from_scene.numpy())
    return mesh, level


def _radiance_mesh(
    run: RadianceRun, resolution: int, level: float | None, min_component: float, progress: bool
) -> tuple[trimesh.Trimesh, float]:
    """The coloured mesh of a density, in the training frame, and its level."""
    import torch
    import trimesh

    from eugen_fields.errors import InputError
    from eugen_fields.meshing.clean import keep_large_components
    from eugen_fields.meshing.marching_cubes import extract_mesh
    from eugen_fields.meshing.surface import (
        density_span,
        evaluate_density,
        near_occupied,
        surface_colors,
        surface_level,
    )

    field, grid = run.field.folded(), run.grid
    device = run.field.aabb.device
    if level is None:
        level = surface_level(field, grid, run.step_size)
        if level is None:
            low, high = density_span(field, grid)
            raise InputError(
                f"{run.folder} at step {run.step} has no opaque surface; densities span {low:.3g}..{high:.3g}. "
                "Train longer, or give a --level in between."
            )
    vertices, faces = extract_mesh(
        # densities span decades: their logarithm is what runs straight between lattice points
        lambda points: torch.log1p(evaluate_density(field, points) / level),
        run.aabb,
        resolution,
        math.log(2.0),
        occupied=near_occupied(grid) if level > grid.min_density else None,
        device=device,
        progress=progress,
    )
    if len(faces) == 0:
        low, high = density_span(field, grid)
        raise InputError(
            f"nothing at level {level:g}; densities span {low:.3g}..{high:.3g}. Give a --level in between."
        )
    vertices, faces = keep_large_components(vertices, faces, min_component)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    normals = torch.from_numpy(mesh.vertex_normals.copy()).float().to(device)
    colors = surface_colors(field, torch.from_numpy(vertices).float().to(device), normals, run.step_size)
    mesh.visual.vertex_colors = (colors * 255).round().byte().cpu().numpy()  # type: ignore[union-attr]
    return mesh, level


def _sdf_mesh(
    run: SDFRun, resolution: int, level: float, min_component: float, region: Literal["seen", "box"], progress: bool
) -> trimesh.Trimesh:
    """The mesh where a signed distance is `level` metres; it has no colours."""
    import trimesh

    from eugen_fields.errors import InputError
    from eugen_fields.meshing.clean import keep_large_components
    from eugen_fields.meshing.distance import distance_mesh, distance_span

    seen = run.seen if region == "seen" else None
    field = run.field.folded()
    vertices, faces = distance_mesh(field, resolution, level=level, seen=seen, progress=progress)
    if len(faces) == 0:
        low, high = distance_span(field)
        where = " where surfaces were seen (--region box looks everywhere)" if seen is not None else ""
        raise InputError(
            f"nothing at level {level:g} m{where}; distances span {low:.3g}..{high:.3g} m. Give a --level in between."
        )
    vertices, faces = keep_large_components(vertices, faces, min_component)
    return trimesh.Trimesh(vertices, faces, process=False)


def main() -> None:
    """The `eugen-export` command."""
    options = tyro.cli(ExportOptions, prog="eugen-export", description=ExportOptions.__doc__)
    warnings.filterwarnings("ignore", category=FutureWarning, module="nerfstudio")
    try:
        facts = export_mesh(**vars(options))
    except KeyboardInterrupt:
        raise SystemExit("stopped; no file was written.") from None
    sides = " x ".join(f"{side:.4g}" for side in facts["extent"])
    print(
        f"step        {facts['step']}\n"
        f"level       {facts['level']:.4g}\n"
        f"vertices    {facts['vertices']}\n"
        f"faces       {facts['faces']}\n"
        f"watertight  {'yes' if facts['watertight'] else 'no'}\n"
        f"components  {facts['components']}\n"
        f"extent      {sides} ({options.frame} frame)\n"
        f"time        {facts['seconds']:.1f} s\n"
        f"file        {facts['path']}"
    )


if __name__ == "__main__":
    main()
