"""What every benchmark does: checks its flags, measures what its JSON file lacks, prints a table and draws plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from eugen_fields.benchmark.common.devices import choose_device
from eugen_fields.benchmark.common.engines import Case, Engine, run_cases
from eugen_fields.benchmark.common.results import Results
from eugen_fields.errors import InputError


@dataclass(kw_only=True)
class Benchmark:
    """Options of every benchmark."""

    seed: Any = 0
    """Seed of every random number."""
    device: str | None = None
    """Device to run on: cpu or cuda. Default: CUDA if there is one."""

    defaults: ClassVar[dict[str, Any]] = {}
    """Values of options that are None unless they are given."""
    quick_defaults: ClassVar[dict[str, Any]] = {}
    """Those values with --quick."""

    def main(self) -> None:
        """Runs the benchmark and prints its report."""
        print(self.report())

    def report(self) -> str:
        """Runs the benchmark and returns its report, in Markdown.

        Raises:
            InputError: a flag or a file that will not do.
        """
        raise NotImplementedError

    def complete(self) -> None:
        """Fills in the options that were left out and checks all of them. Raises InputError."""
        for name, value in (self.quick_defaults if getattr(self, "quick", False) else self.defaults).items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        self.check()
        choose_device(self.device)

    def check(self) -> None:
        """Raises InputError where an option will not do."""

    def require(self, least: float, *names: str) -> None:
        """Raises InputError where one of these options, or an entry of one, is below `least`, or it has no entry."""
        for name in names:
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else (value,)
            flag = f"--{name.replace('_', '-')}"
            if not numbers:
                raise InputError(f"{flag}: give at least one.")
            if isinstance(numbers[0], int | float) and not min(numbers) >= least:
                given = " ".join(f"{number:g}" for number in numbers)
                raise InputError(f"{flag} {given}: it must be at least {least:g}.")


@dataclass(kw_only=True)
class RecordedBenchmark(Benchmark):
    """Options of every benchmark with a file of results, which is not measured again."""

    json: Path
    """JSON file of the results, of several calls if they name the same one. What is in it is not measured again."""

    def report(self) -> str:
        """Measures what the JSON file lacks, draws the plots, and returns the table and what was written."""
        self.complete()
        table, plots = self.measure(Results(self.json))
        return "\n".join([table, "", f"written to {self.json}", *(f"drawn to {path}" for path in plots)])

    def measure(self, results: Results) -> tuple[str, list[Path]]:
        """Measures what is missing in the results; returns the table and the plots that were drawn."""
        raise NotImplementedError

    @property
    def device_type(self) -> str | None:
        """What --device asks nerfstudio for: cpu, cuda, or None for the machine's own."""
        return None if self.device is None else self.device.partition(":")[0]


@dataclass(kw_only=True)
class DrawnBenchmark(RecordedBenchmark):
    """Options of every benchmark that draws plots."""

    plot: bool = True
    """Draw the plots as PNG files beside the JSON file."""

    def drawn(self, draw: Callable[[Path], Any]) -> list[Path]:
        """Where a plot was drawn: beside the JSON file, under its name; nowhere with --no-plot.

        Args:
            draw: draws into a path; returns False where there is nothing to draw.
        """
        path = self.json.with_suffix(".png")
        return [path] if self.plot and draw(path) is not False else []


@dataclass(kw_only=True)
class TrainingBenchmark(DrawnBenchmark):
    """Options of every benchmark that trains fields."""

    options: Any = ()
    """Flags of the model for all runs, as name=value: num_layers=8 replace=5,6,7."""
    steps: int | None = None
    """Training steps of each run. Default: the method's own."""
    output: Path = Path("outputs/benchmark")
    """Folder of the training runs."""


@dataclass(kw_only=True)
class SweptBenchmark(TrainingBenchmark):
    """Options of every benchmark whose runs do not need each other."""

    engine: Engine = "local"
    """Who trains. local: this process, one run after the other. ray: the workers of a Ray cluster, one processor or one
    GPU for each run; a run whose worker is lost is started again. Ray has to be installed (pip install ray)."""
    ray_address: str | None = None
    """Address of a running Ray cluster, such as HOST:6379, whose machines share their files. Default: the one that
    RAY_ADDRESS names, else one is started on this machine for as long as it is needed."""

    def sweep(self, cases: Sequence[Case], results: Results) -> list[dict[str, Any]]:
        """The measurement of each case, in their order, made by the engine where the file lacks it."""
        gpus = int(choose_device(self.device) != "cpu")
        return run_cases(cases, results, engine=self.engine, address=self.ray_address, gpus=gpus)
