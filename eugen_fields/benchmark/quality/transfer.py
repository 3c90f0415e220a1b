"""`eugen-bench transfer`: what a trained run loses when its layers are replaced, and what fine-tuning gives back."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from eugen_fields.benchmark.common import DrawnBenchmark, Results
from eugen_fields.benchmark.common.results import run_name
from eugen_fields.benchmark.quality.transfer_report import VARIANTS, draw, markdown_table
from eugen_fields.layers.names import ReplacementName


@dataclass(kw_only=True)
class Transfer(DrawnBenchmark):
    """Transfers a trained dense run to smaller EUGen layers and compares PSNR on the test views: the closed form alone,
    the closed form and a short fine-tuning, and the same fine-tuning from a random start."""

    run: tyro.conf.Positional[Path]
    """Folder of the trained run, with layer dense."""
    layer: ReplacementName = "eugen"
    """Kind of the new layers."""
    projections: Literal["neurons", "mixed", "principal", "random"] = "neurons"
    """Source of the projections of EUGen layers."""
    shares: tuple[int, ...] = (2, 4, 8)
    """Divisors of the width: the new layers get width / share features (low-rank layers: that rank)."""
    best: tuple[int, ...] = (0, 3)
    """Numbers of layers to replace, those that change the output least. 0: every hidden layer but the first."""
    finetune_steps: int = 500
    """Steps of fine-tuning."""
    views: int = 0
    """Test views to score, evenly spread. 0: all."""
    json: Path = Path("outputs/benchmark/transfer.json")
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again."""

    def check(self) -> None:
        self.require(1, "finetune_steps", "shares")
        self.require(0, "best", "views")

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Fits, fine-tunes and scores what is missing in the results."""
        from eugen_fields.benchmark.quality.transfer_run import Transferred

        transferred = Transferred(self.run, self.device, self.views)
        run, width = transferred.teacher, transferred.width
        cases = [("teacher", 0, width)]
        students = itertools.product(self.best, self.shares, VARIANTS)
        cases += [(variant, best, max(1, width // share)) for best, share, variant in students]
        names = ("layer", "projections", "finetune_steps", "views", "seed")
        settings = {name: getattr(self, name) for name in names}
        rows = []
        for variant, best, features in cases:
            key = {"variant": variant, "best": best, "features": features}
            key |= settings | {"run": run_name(run.folder), "step": run.step}
            if results.find(key) is None:
                print(f"{variant}, {features} features, best {best or 'all'}", flush=True)
            rows.append(results.once(key, lambda key=key: transferred.measure(key)))
        return markdown_table(rows), self.drawn(lambda path: draw(rows, path))
