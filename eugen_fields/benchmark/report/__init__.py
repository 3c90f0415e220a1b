"""All measured results in one Markdown file, made from the JSON files of the benchmarks."""

from eugen_fields.benchmark.report.report import Report

__all__ = ["Report"]
