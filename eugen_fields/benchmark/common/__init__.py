"""What benchmarks share: the base class, contestants, devices, timing, tables, plots and result files."""

from eugen_fields.benchmark.common.benchmark import (
    Benchmark,
    DrawnBenchmark,
    RecordedBenchmark,
    SweptBenchmark,
    TrainingBenchmark,
)
from eugen_fields.benchmark.common.engines import Case
from eugen_fields.benchmark.common.results import Results

__all__ = ["Benchmark", "Case", "DrawnBenchmark", "RecordedBenchmark", "Results", "SweptBenchmark", "TrainingBenchmark"]
