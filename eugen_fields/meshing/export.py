"""The eugen-export command: a trained run to a coloured triangle mesh in a file."""

from __future__ import annotations

import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from eugen_fields.errors import InputError, exit_on_input_error
from eugen_fields.meshing.options import MeshOptions


@dataclass(kw_only=True)
class ExportOptions(MeshOptions):
    """Extracts the surface of a trained run as a triangle mesh with normals: watertight and coloured for fields of
    density and colour; for fields of signed distance cut to where surfaces were seen. A .json file beside it says what
    it is like. With --field it writes the field itself instead, in a file of some kilobytes that eugen-view,
    eugen-export and eugen_fields.load_field open; with --web, a web page that shows it in any browser."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run (it holds config.yml), or a folder above exactly one run; it may still be training. Or a field
    file."""
    output: Path | None = None
    """File to write; its ending gives the format: .ply, .glb, .obj or .stl (the shape alone). None: mesh.ply in the
    run's folder (mesh.glb with --texture, points.ply with --points)."""
    field: Path | None = None
    """Field file to write in place of a mesh, such as scene.field: the network, its occupancy grid, some cameras and
    what that costs, measured on the test views or, where the data is gone, on the run's own renders."""
    web: Path | None = None
    """Web page to write in place of a mesh, such as scene.html: the field file and all that shows it, in one file that
    opens without a server or a network."""
    bits: int | None = None
    """Bits of all matrices and feature planes in the field file: 8, 6, 5 or 4. None: each number is as fine as it
    matters."""
    max_loss: float | None = None
    """Largest loss of the field file: dB of PSNR, or centimetres of distance for fields of signed distance. None: 0.1,
    if neither --bits nor --max-bytes is given."""
    max_bytes: int | None = None
    """Largest size of the field file; its loss is the least that is found."""
    tune_steps: int | None = None
    """Steps of fine-tuning for the field file, on the run's own renders. None: 250, but none for 6 or 8 --bits and for
    fields of feature planes. 0: no fine-tuning, which takes most of the time."""
    seed: int = 0
    """Seed of the places where a field file is compared with its run, and of the fine-tuning."""
    device: str | None = None
    """Device of the network, such as cpu or cuda:0. None: CUDA if there is one, else the CPU."""
    step: int | None = None
    """Training step of the checkpoint to open. None: the newest."""


_STORING = ("bits", "max_loss", "max_bytes", "tune_steps")
"""Options of field files alone."""


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@exit_on_input_error()
def main() -> None:
    """Entry point of eugen-export."""
    options = tyro.cli(ExportOptions, prog="eugen-export")
    for category in (FutureWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module="nerfstudio")
    settings = dict(vars(options))
    storing = {name: settings.pop(name) for name in (*_STORING, "field", "web", "seed")}
    is_mesh = options.field is None and options.web is None
    for name in (*_STORING, "seed"):
        if is_mesh and storing[name] != getattr(ExportOptions, name):
            raise InputError(f"{_flag(name)} is for field files and web pages; name one with --field or --web.")
    for name, default in vars(MeshOptions()).items():
        if not is_mesh and settings[name] != default:
            raise InputError(f"{_flag(name)} is for meshes, and --field and --web write none. Leave it out.")
    try:
        if options.web is not None:
            lines = _web(settings, storing)
        else:
            lines = _mesh(settings) if options.field is None else _field(settings, storing)
    except KeyboardInterrupt:
        raise SystemExit("stopped; no file was written.") from None
    print("\n".join(f"{name:<10}  {value}" for name, value in lines.items()))


def _mesh(settings: dict[str, Any]) -> dict[str, Any]:
    """Writes the mesh; what is to be said of it."""
    from eugen_fields.meshing.export_mesh import export_mesh

    facts = export_mesh(**settings)
    sides = " x ".join(f"{side:.4g}" for side in facts["extent"])
    lines = {"step": facts["step"], "level": f"{facts['level']:.4g}", "where": facts["where"]}
    if "points" in facts:
        lines["points"] = facts["points"]
    else:
        lines |= {name: facts[name] for name in ("vertices", "faces", "components")}
        if facts["dropped_pieces"]:
            lines["dropped"] = (
                f"{facts['dropped_pieces']} small pieces of {facts['dropped_faces']} triangles in all (--min-component)"
            )
        lines["watertight"] = "no" if facts["volume"] is None else f"yes, holds {facts['volume']:.4g}"
    return lines | {
        "extent": f"{sides} ({facts['units']})",
        "time": f"{facts['seconds']:.1f} s",
        "file": facts["path"],
    }


def _field(settings: dict[str, Any], storing: dict[str, Any]) -> dict[str, Any]:
    """Writes the field file; what is to be said of it."""
    from eugen_fields.storing.opening import is_field_file
    from eugen_fields.storing.store import store_run

    if settings["output"] is not None:
        raise InputError("--output writes a mesh and --field a field file; give one of them.")
    run = settings["run"]
    if isinstance(run, Path) and is_field_file(run.expanduser()):
        raise InputError(
            f"{run} is a field file already, so --field has no use. Give the run that it was written from."
        )
    start = time.perf_counter()
    facts = store_run(
        run,
        storing["field"],
        device=settings["device"],
        step=settings["step"],
        **{name: storing[name] for name in (*_STORING, "seed")},
    )
    lines: dict[str, Any] = {}
    if "psnr_before" in facts:
        lost = facts["psnr_before"] - facts["psnr_after"]
        lines["PSNR"] = f"{facts['psnr_before']:.2f} dB before, {facts['psnr_after']:.2f} dB after, {lost:.2f} dB lost"
    elif "psnr_of_change" in facts:
        lines["PSNR"] = f"{facts['psnr_of_change']:.2f} dB between the renders of the file and of the run"
    else:
        lines["change"] = f"{100 * facts['distance_change']:.3g} cm of the distance, mean"
    lines["measured"] = f"on {facts['on']}" + (f": {facts['why']}" if facts.get("why") else "")
    lines |= {"bytes": f"{facts['bytes']:,}", "time": f"{time.perf_counter() - start:.1f} s", "file": facts["path"]}
    return lines


def _web(settings: dict[str, Any], storing: dict[str, Any]) -> dict[str, Any]:
    """Writes the web page, and the field file if it is asked for; what is to be said of them."""
    from eugen_fields.storing.opening import is_field_file
    from eugen_fields.storing.web import check_run, write_page

    if settings["output"] is not None:
        raise InputError("--output writes a mesh and --web a page; give one of them.")
    source, output = settings["run"], storing["web"].expanduser()
    if output.is_dir():
        raise InputError(f"--web {output} is a folder; name a file in it, for example {output / 'scene.html'}.")
    for name, other in (("RUN", source), ("--field", storing["field"])):
        if other is not None and other.expanduser().resolve() == output.resolve():
            raise InputError(f"--web {output} is the file of {name}, which the page would replace. Name another file.")
    lines: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if is_field_file(source.expanduser()):
            flags = {name: storing[name] for name in ("field", *_STORING)}
            flags |= {name: settings[name] for name in ("device", "step")}
            given = [_flag(name) for name, value in flags.items() if value is not None]
            if given:
                raise InputError(f"{source} is a field file already, so {given[0]} has no use. Leave it out.")
        else:
            settings["run"] = check_run(source, output, settings["device"], settings["step"])
            source = storing["field"] = storing["field"] or Path(folder) / "scene.field"
            lines = _field(settings, storing)
            if source.parent == Path(folder):
                del lines["file"]
        try:
            size = write_page(source.expanduser(), output)
        except KeyboardInterrupt:
            if lines.get("file") is None:
                raise
            raise SystemExit(f"stopped; no page was written, but the field file was: {lines['file']}.") from None
    return lines | {"page": f"{output}, {size:,} bytes"}


if __name__ == "__main__":
    main()
