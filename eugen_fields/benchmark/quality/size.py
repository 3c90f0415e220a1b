"""`eugen-bench size`: the quality of trained fields against the bytes of the files that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from eugen_fields.benchmark.common import Results, TrainingBenchmark
from eugen_fields.benchmark.quality.comparison import Train
from eugen_fields.benchmark.quality.size_report import draw, markdown_table, smallest_within
from eugen_fields.errors import InputError

_FULL: dict[str, Any] = {
    "layers": (
        "dense",
        "dense:layer_width=128",
        "dense:layer_width=64",
        "dense:layer_width=32",
        "eugen:num_features=64",
        "eugen:num_features=32",
        "eugen:num_features=16",
        "hybrid-eugen",
        "prp",
        "prp:rank=4",
        "hybrid-prp",
        "prp:replace=0,1,2,3,4,5,6,7,8",
    ),
    "options": ("num_layers=8", "layer_width=256", "feature_dim=256", "color_width=128", "skip_connections=4,"),
    "views": 0,
    "rate_factor": 0.5,
}
_QUICK: dict[str, Any] = {
    "layers": (
        "dense",
        "dense:layer_width=64",
        "dense:layer_width=32",
        "eugen:num_features=32",
        "eugen:num_features=16",
        "prp",
        "prp:rank=4",
        "hybrid-prp",
        "prp:layer_width=64",
    ),
    "options": (),
    "views": 4,
    "steps": 300,
    "rate_factor": 1.0,
}


@dataclass(kw_only=True)
class Size(TrainingBenchmark):
    """Trains networks alike, writes each into files of float32, float16 and int8, reads them back and scores them.

    A file holds the smaller of the trained and the folded form, and of a random matrix its seed alone. int8 is for
    matrices, with one float16 scale per row; vectors are float16 then. Nothing is compressed."""

    scene: Path = Path("scenes/hotdog")
    """Folder of the scene."""
    method: Literal["eugen-nerf-tiny", "eugen-nerf", "prp-nerf"] = "eugen-nerf-tiny"
    """Method whose budget and data settings all runs share."""
    layers: Annotated[tuple[str, ...] | None, tyro.conf.arg(aliases=["--layer"])] = None
    """Networks, as for eugen-bench train; the first, dense, is what the others are held against. Default: dense layers
    of four widths, EUGen with 64, 32 and 16 features, PRP, PRP with a low-rank term, PRP everywhere, and hybrids; with
    --quick nine smaller ones."""
    options: tuple[str, ...] | None = None
    """Flags of the model for all runs, as name=value. Default: the sizes of NeRF, 8 layers of 256; with --quick the
    method's own."""
    formats: tuple[Literal["float32", "float16", "int8"], ...] = ("float32", "float16", "int8")
    """Number formats of the files."""
    steps: int | None = None
    """Training steps of each run. Default: the method's own; with --quick 300."""
    rate_factor: float | None = None
    """Factor of the method's tuned learning rates. Default: 0.5, as these networks are twice as deep and wide; PRP in
    every second layer stalls at it on some seeds. With --quick 1."""
    views: int | None = None
    """Test views that are scored, evenly spread; 0: all. Default: all; with --quick 4."""
    quick: bool = False
    """A small network, short runs: minutes on a CPU."""
    json: Path = Path("outputs/benchmark/size.json")
    """JSON file of the results; the training runs are in a second file, ..._training.json. What is in either is not
    done again."""

    defaults: ClassVar = _FULL
    quick_defaults: ClassVar = _QUICK

    def check(self) -> None:
        if not self.formats or not self.layers or self.layers[0].partition(":")[0] != "dense":
            raise InputError(
                "--layers must begin with dense, which the others are held against; give a format or more."
            )

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Trains and writes what is missing in the results; the smallest good files stand in the JSON file as well."""
        trained = Train(
            scene=self.scene,
            method=self.method,
            layers=self.layers or (),
            options=self.options or (),
            seed=(self.seed,),
            steps=self.steps,
            rate_factor=1.0 if self.rate_factor is None else self.rate_factor,
            views=1,
            checkpoints=1,
            curve_views=1,
            device=self.device,
            output=self.output / "size",
            json=self.json.with_name(f"{self.json.stem}_training.json"),
        ).run_all()
        rows = [row for run in trained for row in self._rows(results, run)]
        results.document["smallest"] = {f"within {loss:g} dB": smallest_within(rows, loss) for loss in (0.3, 1.0)}
        results.save()
        return markdown_table(rows), self.drawn(lambda path: draw(rows, path))

    def _rows(self, results: Results, trained: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows of one trained run, one for each number format."""
        from eugen_fields.benchmark.quality.size_files import FieldFiles

        names = ("layer", "seed", "method", "scene", "options", "trained_steps", "learning_rate")
        about = {name: trained[name] for name in names} | {"views_scored": self.views or None}
        keys = {number_format: about | {"format": number_format} for number_format in self.formats}
        files = FieldFiles(Path(trained["run"]), self.method, self.device, self.views or 0)
        parameters = {"parameters": trained["parameters"]}
        rows = []
        for number_format, key in keys.items():
            if results.find(key) is None:
                print(f"{trained['layer']}, {number_format}", flush=True)
            case: Any = number_format
            rows.append(results.once(key, lambda case=case: files.measure(case) | parameters))
        return rows
