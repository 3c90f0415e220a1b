"""Signed distance against the truth and against TSDF fusion."""

from eugen_fields.benchmark.distance.isdf import ISDF

__all__ = ["ISDF"]
