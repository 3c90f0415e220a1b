"""The `eugen-bench` command."""

from __future__ import annotations

import warnings

import tyro

from eugen_fields.benchmark.comparison import Train
from eugen_fields.benchmark.everything import Everything
from eugen_fields.benchmark.isdf import ISDF
from eugen_fields.benchmark.isdf_speed import ISDFSpeed
from eugen_fields.benchmark.layers import Layers
from eugen_fields.benchmark.mesh import Mesh
from eugen_fields.benchmark.render import Render
from eugen_fields.benchmark.size import Size
from eugen_fields.benchmark.synthetic import Synthetic
from eugen_fields.benchmark.transfer import Transfer


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
        "all": Everything,
    }
    tyro.extras.subcommand_cli_from_dict(commands, description="Measures the fields and layers of eugen_fields.").main()
