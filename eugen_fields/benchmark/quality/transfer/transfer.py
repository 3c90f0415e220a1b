"""`eugen-bench transfer`: a trained run with smaller layers, against its rivals of the same size and against itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from eugen_fields.benchmark.common import DrawnBenchmark, Results
from eugen_fields.benchmark.common.results import run_name
from eugen_fields.benchmark.quality.transfer import layers_table, rivals_table
from eugen_fields.layers.names import ReplacementName

_SETTINGS = ("layer", "projections", "finetune_steps", "views")
"""Options that name a measurement in the JSON file."""


@dataclass(kw_only=True)
class Transfer(DrawnBenchmark):
    """Gives a trained dense run smaller layers and compares PSNR on the test views.

    rivals: eugen-transfer with a budget of multiplications, in closed form and fine-tuned, against dense networks of
    that many multiplications: trained on the images for as many steps as the run and the fine-tuning together, trained
    on the run's renders alone for as many steps as the fine-tuning, and either for as many seconds as all of
    eugen-transfer. layers: the layer-wise experiment of the EUGen paper, with the closed form alone, a fine-tuning
    behind it, and the same fine-tuning from a random start."""

    run: tyro.conf.Positional[Path]
    """Folder of the trained run, with layer dense."""
    compare: Literal["rivals", "layers"] = "rivals"
    """What the smaller layers are compared with: networks that are small from the start, or themselves."""
    layer: ReplacementName = "eugen"
    """Kind of the new layers."""
    projections: Literal["neurons", "mixed", "principal", "random"] = "neurons"
    """Source of the projections of EUGen layers."""
    multiplications: tuple[int, ...] = ()
    """Budgets of multiplications per sample, for rivals. Default: a third of those of the run."""
    shares: tuple[int, ...] = (2, 4, 8)
    """Divisors of the width, for layers: the new ones get width / share features (low-rank layers: that rank)."""
    best: tuple[int, ...] = (0, 3)
    """Numbers of layers to replace, for layers: those that change the output least. 0: every hidden layer but the
    first."""
    finetune_steps: int = 1000
    """Steps of fine-tuning."""
    views: int = 0
    """Test views to score, evenly spread. 0: all."""
    seed: tuple[int, ...] = (0, 1)
    """Seeds of the transfers and of the networks that are trained."""
    output: Path = Path("outputs/benchmark/transfer")
    """Folder of the networks that are trained on the images."""
    json: Path = Path("outputs/benchmark/transfer.json")
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again."""

    def check(self) -> None:
        self.require(1, "finetune_steps", "shares")
        self.require(0, "best", "views", "seed")
        if self.multiplications:
            self.require(1, "multiplications")

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Fits, trains and scores what is missing in the results."""
        report = rivals_table if self.compare == "rivals" else layers_table
        rows = list(self._rivals(results) if self.compare == "rivals" else self._layers(results))
        return report.markdown_table(rows), self.drawn(lambda path: report.draw(rows, path))

    def _key(self, run: Any, seed: int) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in _SETTINGS}
        return settings | {"seed": seed, "run": run_name(run.folder), "step": run.step}

    def _rivals(self, results: Results) -> Iterator[dict[str, Any]]:
        from eugen_fields.benchmark.quality.transfer.rivals import Rivals

        rivals = Rivals(self.run, self.device, self.views, self.output)
        budgets = self.multiplications or (rivals.multiplications // 3,)
        for budget in budgets:
            rivals.narrow_width(budget)  # refuses budgets that no dense network meets before anything is measured
        key = self._key(rivals.teacher, 0) | {"variant": rivals_table.TEACHER, "budget": rivals.multiplications}
        yield results.once(key, lambda: rivals.measure(key, {}))
        for seed, budget in itertools.product(self.seed, budgets):
            before: dict[str, dict[str, Any]] = {}
            for variant in rivals_table.VARIANTS:
                key = self._key(rivals.teacher, seed) | {"variant": variant, "budget": budget}
                if results.find(key) is None:
                    print(f"{variant}, {budget:,} multiplications, seed {seed}", flush=True)
                before[variant] = results.once(key, lambda key=key, before=before: rivals.measure(key, before))
                yield before[variant]

    def _layers(self, results: Results) -> Iterator[dict[str, Any]]:
        from eugen_fields.benchmark.quality.transfer.layers_run import Transferred

        transferred = Transferred(self.run, self.device, self.views)
        run, width = transferred.teacher, transferred.width
        cases = [(layers_table.TEACHER, 0, width, self.seed[0])]
        students = itertools.product(self.seed, self.best, self.shares, layers_table.VARIANTS)
        cases += [(variant, best, max(1, width // share), seed) for seed, best, share, variant in students]
        for variant, best, features, seed in cases:
            key = self._key(run, seed) | {"variant": variant, "best": best, "features": features}
            if results.find(key) is None:
                print(f"{variant}, {features} features, best {best or 'all'}, seed {seed}", flush=True)
            yield results.once(key, lambda key=key: transferred.measure(key))
