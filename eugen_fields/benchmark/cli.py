"""The `eugen-bench` command."""

from __future__ import annotations

import warnings

import tyro

from eugen_fields.benchmark.all import All
from eugen_fields.benchmark.distance.isdf import ISDF
from eugen_fields.benchmark.kernels import Kernels
from eugen_fields.benchmark.layers.layers import Layers
from eugen_fields.benchmark.layers.synthetic import Synthetic
from eugen_fields.benchmark.mesh.mesh import Mesh
from eugen_fields.benchmark.quality.comparison import Train
from eugen_fields.benchmark.quality.frontier import Frontier
from eugen_fields.benchmark.quality.rivals import Rivals
from eugen_fields.benchmark.quality.scenes import Scenes
from eugen_fields.benchmark.quality.size import Size
from eugen_fields.benchmark.quality.transfer import Transfer
from eugen_fields.benchmark.report import Report
from eugen_fields.benchmark.speed.isdf_speed import ISDFSpeed
from eugen_fields.benchmark.speed.render import Render
from eugen_fields.errors import exit_on_input_error


@exit_on_input_error()
def main() -> None:
    """Entry point of eugen-bench."""
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    commands = {
        "kernels": Kernels,
        "layers": Layers,
        "render": Render,
        "train": Train,
        "scenes": Scenes,
        "frontier": Frontier,
        "rivals": Rivals,
        "size": Size,
        "transfer": Transfer,
        "synthetic": Synthetic,
        "mesh": Mesh,
        "isdf": ISDF,
        "isdf-speed": ISDFSpeed,
        "all": All,
        "report": Report,
    }
    about = "Measures the fields and layers of eugen_fields."
    tyro.extras.subcommand_cli_from_dict(commands, prog="eugen-bench", description=about).main()
