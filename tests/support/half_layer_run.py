"""The layer kind "half" through every command. support.half_layer has to be imported first: choices of flags are made
when models are imported."""

import json
from pathlib import Path

import torch
import tyro
from nerfstudio.scripts import train

from eugen_fields.benchmark.common.contestants import contestant, with_options
from eugen_fields.benchmark.distance.isdf import ISDF
from eugen_fields.benchmark.quality.transfer import Transfer
from eugen_fields.layers import fold
from eugen_fields.methods import METHODS
from eugen_fields.runs import open_run
from support.helpers import here, typed

SMALL = (
    "--max-num-iterations", 2, "--pipeline.target-num-samples", 2048, "--pipeline.model.grid-resolution", 16,
    "--pipeline.model.layer-width", 32, "--pipeline.model.feature-dim", 16, "--pipeline.model.color-width", 16,
)  # fmt: skip


def main(scene: str, output_folder: str) -> None:
    """Writes what became of each step to report.json in the output folder."""
    output = Path(output_folder)
    for layer in ("dense", "half"):
        trained = typed("eugen-nerf-tiny", Path(scene), output / layer, *SMALL, "--pipeline.model.layer", layer)
        train.main(trained)
    folder, dense = (output / layer / "sphere" / "eugen-nerf-tiny" / "run" for layer in ("half", "dense"))
    run = open_run(folder)
    config = METHODS["eugen-nerf-tiny"]
    small = with_options(config.pipeline.model, "half", {"layer_width": 32, "num_layers": 3})
    field = small.build_field(torch.tensor([[-1.0] * 3, [1.0] * 3])).double()
    points, directions = torch.rand(64, 3).double() - 0.5, torch.eye(3).double()[torch.arange(64) % 3]
    folded = fold(field)
    expected, found = (network(points, directions) for network in (field, folded))
    exported = here("eugen-export", folder, "--resolution", 16, "--level", 0.05, "--output", output / "mesh.ply")
    fitted = here("eugen-transfer", dense, "--layer", "half", "--num-samples", 2000)
    student = open_run(dense.parent / "run-half")
    report = {
        "layers": [type(layer).__name__ for layer in run.field.trunk.layers],
        "rate": trained.optimizers["fields"]["optimizer"].adam_lr,
        "folded_trunk": type(folded.trunk).__name__,
        "fold_difference": max(float((a - b).abs().max()) for a, b in zip(found, expected)),
        "export": [exported.returncode, exported.stdout + exported.stderr, (output / "mesh.ply").exists()],
        "transfer": [fitted.returncode, fitted.stdout + fitted.stderr],
        "student": [type(layer).__name__ for layer in student.field.trunk.layers],
        "contestant": contestant("half", config.pipeline.model).layer,
        "isdf": tyro.cli(ISDF, args=["--layer", "dense", "half"]).layer,
        "bench_transfer": tyro.cli(Transfer, args=["run", "--layer", "half"]).layer,
    }
    (output / "report.json").write_text(json.dumps(report))
