"""Benchmarks of quality, speed, size, distances and meshes; `eugen-bench` and `python -m eugen_fields.benchmark`."""

from eugen_fields.benchmark.all import All
from eugen_fields.benchmark.report import Report

__all__ = ["All", "Report"]
