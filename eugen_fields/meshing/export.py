"""The eugen-export command: a trained run to a coloured triangle mesh in a file."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from eugen_fields.meshing.build import build_mesh, dress, find_surface, place, sample_points
from eugen_fields.meshing.options import MeshOptions

if TYPE_CHECKING:
    from eugen_fields.runs import Run

__all__ = ["ExportOptions", "build_mesh", "export_mesh", "main"]


@dataclass(kw_only=True)
class ExportOptions(MeshOptions):
    """Extracts the surface of a trained run as a triangle mesh with normals: watertight and coloured for fields of
    density and colour; for fields of signed distance cut to where surfaces were seen. A .json file beside it says what
    it is like."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run (it holds config.yml), or a folder above exactly one run. May still be training."""
    output: Path | None = None
    """File to write; its ending gives the format: .ply, .glb, .obj or .stl (the shape alone). None: mesh.ply in the
    run's folder (with --texture mesh.glb, with --points points.ply)."""
    device: str | None = None
    """Device of the network, such as cpu or cuda:0. None: CUDA if there is one, else the CPU."""
    step: int | None = None
    """Training step of the checkpoint. None: the newest."""


def export_mesh(
    run: Run | str | Path,
    output: str | Path | None = None,
    *,
    device: str | None = None,
    step: int | None = None,
    progress: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """Extracts the surface of a run and writes it, and a report beside it. The arguments are those of `eugen-export`.

    Args:
        run: a path, or a run that is already open (device and step are then not looked at).
        progress: shows progress bars on a terminal.
        options: fields of MeshOptions.

    Returns:
        what the report holds, with `path` in place of `file`: step, method, frame, units, resolution, level, box, where
        (what was looked at), vertices, faces, watertight, components, area, volume (None unless watertight), extent
        (edges of the bounding box, 3 numbers) and seconds. With points: points, area and extent of the surface.

    Raises:
        InputError: a bad option, no such run, no surface at the level, or the file cannot be written.
    """
    from eugen_fields.meshing.files import write_mesh, write_points
    from eugen_fields.meshing.region import apply
    from eugen_fields.meshing.report import run_facts, surface_facts
    from eugen_fields.runs import open_run

    start = time.perf_counter()
    chosen = MeshOptions(**options)
    chosen.check()
    if output is not None:
        chosen.check_output(Path(output).expanduser())
    if isinstance(run, (str, Path)):
        run = open_run(run, device, step)
    chosen.check_run(run)
    path = run.folder / chosen.default_name() if output is None else Path(output).expanduser()
    chosen.check_output(path)
    surface, level = find_surface(run, chosen, progress)
    vertices = surface.vertices if chosen.frame == "training" else apply(run.world_from_scene, surface.vertices)
    facts = run_facts(run, chosen, level)
    shape = surface_facts(vertices, surface.faces)
    if chosen.points is not None:
        cloud = sample_points(surface, run, chosen, progress)
        facts |= {"points": len(cloud[0]), "area": shape["area"], "extent": shape["extent"]}
        facts["seconds"] = time.perf_counter() - start
        write_points(*cloud, path, {"file": path.name} | facts)
    else:
        mesh = place(dress(surface, run, chosen, progress), run, chosen)
        facts |= {"vertices": len(mesh.vertices), "faces": len(mesh.faces)} | shape
        facts["seconds"] = time.perf_counter() - start
        write_mesh(mesh, path, {"file": path.name} | facts)
    return {"path": path} | facts


def main() -> None:
    """The `eugen-export` command."""
    options = tyro.cli(ExportOptions, prog="eugen-export")
    warnings.filterwarnings("ignore", category=FutureWarning, module="nerfstudio")
    try:
        facts = export_mesh(**vars(options))
    except KeyboardInterrupt:
        raise SystemExit("stopped; no file was written.") from None
    sides = " x ".join(f"{side:.4g}" for side in facts["extent"])
    lines = {"step": facts["step"], "level": f"{facts['level']:.4g}", "where": facts["where"]}
    if "points" in facts:
        lines["points"] = facts["points"]
    else:
        lines |= {name: facts[name] for name in ("vertices", "faces", "components")}
        lines["watertight"] = "no" if facts["volume"] is None else f"yes, holds {facts['volume']:.4g}"
    lines |= {
        "extent": f"{sides} ({facts['units']})",
        "time": f"{facts['seconds']:.1f} s",
        "file": facts["path"],
    }
    print("\n".join(f"{name:<10}  {value}" for name, value in lines.items()))


if __name__ == "__main__":
    main()
