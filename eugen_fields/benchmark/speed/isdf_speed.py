"""`eugen-bench isdf-speed`: milliseconds of a training step and of a query, layer kinds in turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from tqdm import tqdm

from eugen_fields.benchmark.common import RecordedBenchmark, Results
from eugen_fields.benchmark.common.devices import choose_device
from eugen_fields.benchmark.common.markdown import table
from eugen_fields.benchmark.common.timing import interleaved, spread
from eugen_fields.errors import InputError

_TIMED = ("step", "query")


@dataclass(kw_only=True)
class ISDFSpeed(RecordedBenchmark):
    """Times a training step (samples, bounds, losses, both gradients, update) and a query of points (folded, in tiles)
    of layer kinds in turn, so that what else the machine does hits all alike.

    Ratios are medians of dense over medians of the other: above 1 the other is faster."""

    data: Path = Path("scenes/room")
    """Folder of the recording that training steps look at."""
    method: Literal["eugen-isdf-tiny", "eugen-isdf", "prp-isdf"] = "eugen-isdf-tiny"
    """Method whose network and batch are timed."""
    kinds: tuple[str, ...] = ("dense", "eugen", "prp")
    """Layer kinds, with options behind colons: eugen:replace=4,5:num_features=128."""
    rounds: int = 15
    """Measurements of each call."""
    query_points: int = 100_000
    """Points of a query."""
    tile: int = 2048
    """Points evaluated at once in a query."""
    json: Path = Path("outputs/benchmark/isdf_speed.json")
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again."""

    def check(self) -> None:
        self.require(1, "rounds", "query_points", "tile")
        if "dense" not in self.kinds:
            raise InputError("--kinds: dense must be among them, as the others are compared with it.")

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Times all kinds together, unless the file has them with these settings: times of two calls do not compare."""
        names = ("method", "rounds", "query_points", "tile", "seed")
        settings = {name: getattr(self, name) for name in names}
        settings |= {"data": str(self.data), "device": choose_device(self.device)}
        document = results.document
        known = all(document.get(name) == value for name, value in settings.items())
        if not known or [run["kind"] for run in results.runs] != list(self.kinds):
            document |= settings | self._time(settings["device"])
            results.save()
        return markdown_table(document), []

    def _time(self, device: str) -> dict[str, Any]:
        from eugen_fields.benchmark.speed.mapping_calls import mapping_calls

        sizes = {"query_points": self.query_points, "tile": self.tile, "seed": self.seed}
        timed = {kind: mapping_calls(self.method, self.data, kind, device, **sizes) for kind in self.kinds}
        calls = {f"{what}.{kind}": timed[kind][what] for kind in self.kinds for what in _TIMED}
        with tqdm(total=len(calls) * (self.rounds + 2), desc="Timing", unit="call") as bar:
            times = interleaved(calls, device, self.rounds, seed=self.seed, bar=bar)
        runs = [
            {"kind": kind, "ms": {what: spread(times[f"{what}.{kind}"], 1000.0) for what in _TIMED}}
            for kind in self.kinds
        ]
        ratios = {
            f"{what}.{kind}": median(times[f"{what}.dense"]) / median(times[f"{what}.{kind}"])
            for kind in self.kinds
            for what in _TIMED
        }
        return {"runs": runs, "ratios": ratios}


def markdown_table(document: dict[str, Any]) -> str:
    """One row per layer kind: medians, and those of dense over them."""
    rows = []
    for run in document["runs"]:
        kind = run["kind"]
        times = [f"{run['ms'][what]['median']:.1f}" for what in _TIMED]
        rows.append([kind, *times, *(f"{document['ratios'][f'{what}.{kind}']:.2f}" for what in _TIMED)])
    return table(("layers", "step (ms)", "query (ms)", "dense / this: step", "query"), rows)
