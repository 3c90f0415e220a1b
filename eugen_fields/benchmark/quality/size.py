"""`eugen-bench size`: the quality of trained fields against the bytes of the files that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from eugen_fields.benchmark.common.results import find_run, load_results, save_results
from eugen_fields.benchmark.quality.comparison import Train
from eugen_fields.benchmark.quality.size_report import draw, markdown_table, smallest_within
from eugen_fields.errors import InputError

_FULL = {
    "layers": (
        "dense", "dense:layer_width=128", "dense:layer_width=64", "dense:layer_width=32", "eugen:num_features=64",
        "eugen:num_features=32", "eugen:num_features=16", "hybrid-eugen", "prp", "prp:rank=4", "hybrid-prp",
        "prp:replace=0,1,2,3,4,5,6,7,8",
    ),
    "options": ("num_layers=8", "layer_width=256", "feature_dim=256", "color_width=128", "skip_connections=4,"),
    "views": 0,
    "rate_factor": 0.5,
}  # fmt: skip
_QUICK = {
    "layers": (
        "dense", "dense:layer_width=64", "dense:layer_width=32", "eugen:num_features=32", "eugen:num_features=16",
        "prp", "prp:rank=4", "hybrid-prp", "prp:layer_width=64",
    ),
    "options": (),
    "views": 4,
    "steps": 300,
    "rate_factor": 1.0,
}  # fmt: skip


@dataclass
class Size:
    """Trains networks alike, writes each into files of float32, float16 and int8, reads them back and scores them.

    A file holds the smaller of the trained and the folded form, and of a random matrix its seed alone. int8 is for
    matrices, with one float16 scale a row; vectors are float16 then. Nothing is compressed."""

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
    """Number formats."""
    seed: int = 0
    """Of the training."""
    steps: int | None = None
    """Training steps of each run. Default: the method's own; with --quick 300."""
    rate_factor: float | None = None
    """Factor of the method's tuned learning rates. Default: 0.5, as these networks are twice as deep and wide; PRP in
    every second layer stalls at it on some seeds. With --quick 1."""
    views: int | None = None
    """Test views that are scored, evenly spread; 0: all. Default: all; with --quick 4."""
    quick: bool = False
    """A small network, short runs: minutes on a CPU."""
    plot: bool = True
    """Draw PSNR against bytes into a PNG beside the JSON file."""
    device: str | None = None
    """cpu or cuda. Default: CUDA if there is one."""
    output: Path = Path("outputs/benchmark")
    """Where the runs and the files are written."""
    json: Path = Path("outputs/benchmark/size.json")
    """Results; the training runs are in a second file, ..._training.json. What is in either is not done again."""

    def main(self) -> None:
        """Trains and measures what is missing in the JSON files, prints the table and draws the plot."""
        print(self.report())

    def report(self) -> str:
        """Trains, measures, draws, and returns the table and the smallest files."""
        for name, value in (_QUICK if self.quick else _FULL).items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        if not self.formats or not self.layers or self.layers[0].partition(":")[0] != "dense":
            raise InputError(
                "--layers must begin with dense, which the others are held against; give a format or more."
            )
        document = load_results(self.json)
        trained = Train(
            scene=self.scene, method=self.method, layers=self.layers, options=self.options or (), seed=(self.seed,),
            steps=self.steps, rate_factor=1.0 if self.rate_factor is None else self.rate_factor, views=1, checkpoints=1,
            curve_views=1, plot=False, device=self.device, output=self.output / "size",
            json=self.json.with_name(f"{self.json.stem}_training.json"),
        ).run_all()  # fmt: skip
        rows = [row for run in trained for row in self._measure(document, run)]
        document["smallest"] = {f"within {loss:g} dB": smallest_within(rows, loss) for loss in (0.3, 1.0)}
        save_results(document, self.json)
        lines = [markdown_table(rows), f"\nwritten to {self.json}"]
        if self.plot:
            path = self.json.with_suffix(".png")
            draw(rows, path)
            lines.append(f"drawn to {path}")
        return "\n".join(lines)

    def _measure(self, document: dict[str, Any], trained: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows of one trained run, one for each number format."""
        names = ("layer", "seed", "method", "scene", "options", "trained_steps", "learning_rate")
        about = {name: trained[name] for name in names} | {"views_scored": self.views or None}
        keys = {number_format: about | {"format": number_format} for number_format in self.formats}
        if any(find_run(document, key) is None for key in keys.values()):
            self._measure_run(document, trained, keys)
        rows = [find_run(document, key) for key in keys.values()]
        return [row for row in rows if row is not None]

    def _measure_run(self, document: dict[str, Any], trained: dict[str, Any], keys: dict[Any, dict[str, Any]]) -> None:
        from eugen_fields.benchmark.quality.scoring import Scorer
        from eugen_fields.benchmark.quality.stored_fields import compact, read_field, write_field
        from eugen_fields.layers.folding.folded import FoldedMLP
        from eugen_fields.methods import METHODS
        from eugen_fields.runs import RadianceRun, open_run, read_config
        from eugen_fields.runs.restore import restore_config

        folder = Path(trained["run"])
        run = open_run(folder, self.device)
        assert isinstance(run, RadianceRun)
        config_path = folder / "config.yml"
        scorer = Scorer(
            run, restore_config(read_config(config_path), self.method, config_path, METHODS), self.views or 0
        )
        form = compact(run.field)
        folded = any(isinstance(module, FoldedMLP) for module in form.modules())
        numbers = sum(value.numel() for value in form.state_dict().values())
        for number_format, key in keys.items():
            if find_run(document, key) is not None:
                continue
            print(f"{trained['layer']}, {number_format}", flush=True)
            path = folder / f"field_{number_format}.npy"
            size = write_field(form, path, number_format)
            scores = scorer.score(read_field(form, path, number_format), own_grid=True)
            facts = {"bytes": size, "numbers": numbers, "form": "folded" if folded else "trained"}
            facts |= {name: scores[name] for name in ("psnr", "ssim")}
            document["runs"].append(key | facts | {"parameters": trained["parameters"], "file": str(path)})
            save_results(document, self.json)
