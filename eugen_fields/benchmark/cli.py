"""The `eugen-bench` command."""

from __future__ import annotations

import warnings

import tyro

from eugen_fields.benchmark.all import All
from eugen_fields.benchmark.distance import ISDF
from eugen_fields.benchmark.layers import Layers, Synthetic
from eugen_fields.benchmark.mesh import Mesh
from eugen_fields.benchmark.quality import Size, Train, Transfer
from eugen_fields.benchmark.report import Report
from eugen_fields.benchmark.speed import ISDFSpeed, Render


def main() -> None:
    """Entry point of eugen-bench."""
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    commands = {
        "layers": Layers,
        "render": Render,
        "train": Train,
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
