"""`eugen-bench kernels`: whether fused kernels compute what torch computes in float64."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eugen_fields.benchmark.common import RecordedBenchmark, Results
from eugen_fields.benchmark.common.devices import choose_device, device_name
from eugen_fields.benchmark.common.markdown import table

if TYPE_CHECKING:
    from eugen_fields.benchmark.kernels.kernel_cases import Case


@dataclass(kw_only=True)
class Kernels(RecordedBenchmark):
    """Compares every kind of fused kernel with plain torch in float64, on new random points at each seed, and measures
    what the device does at the most. Ends with status 1 where a kernel is off.

    On a CPU small networks run in Triton's interpreter, which says nothing of speed."""

    rows: int | None = None
    """Points that each kernel is compared on. Default: 65573 on a GPU, 97 on a CPU."""
    only: tuple[str, ...] = ()
    """Parts of the names of the kernels to compare. Default: all of them."""
    json: Path = Path("outputs/benchmark/kernels.json")
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again."""

    def check(self) -> None:
        if self.rows is not None:
            self.require(1, "rows")

    def main(self) -> None:
        super().main()
        if not all(run["agrees"] for run in Results(self.json).runs):
            sys.exit(1)

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Compares the kernels that are missing in the results, those that are compiled soonest first."""
        from eugen_fields.benchmark.kernels import kernel_cases
        from eugen_fields.benchmark.kernels.device_figures import device_figures

        device = choose_device(self.device)
        on_gpu = device != "cpu"
        same = {"on": device_name(device), "rows": self.rows or ((1 << 16) + 37 if on_gpu else 97), "seed": self.seed}
        if "figures" not in results.document:
            results.document["figures"] = device_figures(device)
            results.save()
        chosen = [
            case
            for case in kernel_cases.cases()
            if not self.only or any(part in f"{case.name}, {case.dtype}" for part in self.only)
        ]
        asked = []
        for _, group in itertools.groupby(chosen, key=lambda case: case.group):
            keys = {case: {"kernel": case.name, "dtype": case.dtype} | same for case in group}
            new = [case for case, key in keys.items() if results.find(key) is None]
            comparisons = _comparisons(new, device, same["rows"], not on_gpu, self.seed)
            asked += [results.once(key, comparisons.get(case, dict)) for case, key in keys.items()]
        return markdown_table(asked, results.document["figures"]), []


def _comparisons(
    cases: list[Case], device: str, rows: int, small: bool, seed: int
) -> dict[Case, Callable[[], dict[str, Any]]]:
    """What compares each case; kernels that have to be compiled first are compiled now, all at once."""
    from eugen_fields.benchmark.kernels.kernel_cases import within
    from eugen_fields.kernels.run.launch import compiled_together

    prepared, failed = {}, {}
    with compiled_together():
        for case in cases:
            try:
                prepared[case] = case.build(device, rows, small, seed)
                prepared[case].launch()
            except Exception as error:  # of the compiler or driver: the other kernels are compared all the same
                failed[case] = _line(error)

    def compare(case: Case) -> dict[str, Any]:
        if case in failed:
            return {"agrees": False, "error": failed[case]}
        try:
            errors = prepared[case].errors()
        except Exception as error:
            return {"agrees": False, "error": _line(error)}
        limits = {name: prepared[case].limits[name] for name in errors}
        return {"agrees": within(errors, limits), "errors": errors, "limits": limits}

    return {case: functools.partial(compare, case) for case in cases}


def _line(error: Exception) -> str:
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first}"


def markdown_table(runs: list[dict[str, Any]], figures: dict[str, float]) -> str:
    """One row per kernel: its errors relative to the norm of what they are errors of, and their limits; then the
    figures of the device."""
    rows = []
    for run in runs:
        errors = ", ".join(f"{name} {error:.2g}" for name, error in run.get("errors", {}).items())
        largest = max(run.get("limits", {"": 0.0}).values())
        verdict = "yes" if run["agrees"] else "NO"
        rows.append((run["kernel"], run["dtype"], verdict, errors or run["error"], f"{largest:g}"))
    lines = [table(("kernel", "operands", "agrees", "relative errors", "largest limit"), rows), ""]
    lines += [f"{name.replace('_', ' ')}: {value:.4g}" for name, value in figures.items()]
    return "\n".join(lines)
