"""The eugen-export command: a trained run to a coloured triangle mesh in a file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from eugen_fields.errors import exit_on_input_error
from eugen_fields.meshing.options import MeshOptions


@dataclass(kw_only=True)
class ExportOptions(MeshOptions):
    """Extracts the surface of a trained run as a triangle mesh with normals: watertight and coloured for fields of
    density and colour; for fields of signed distance cut to where surfaces were seen. A .json file beside it says what
    it is like."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run (it holds config.yml), or a folder above exactly one run. May still be training."""
    output: Path | None = None
    """File to write; its ending gives the format: .ply, .glb, .obj or .stl (the shape alone). None: mesh.ply in the
    run's folder (mesh.glb with --texture, points.ply with --points)."""
    device: str | None = None
    """Device of the network, such as cpu or cuda:0. None: CUDA if there is one, else the CPU."""
    step: int | None = None
    """Training step of the checkpoint to open. None: the newest."""


@exit_on_input_error()
def main() -> None:
    """Entry point of eugen-export."""
    options = tyro.cli(ExportOptions, prog="eugen-export")
    warnings.filterwarnings("ignore", category=FutureWarning, module="nerfstudio")
    from eugen_fields.meshing.export_mesh import export_mesh

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
