"""Trained field to triangle mesh to file."""

from eugen_fields.meshing.extraction.marching_cubes import extract_mesh

__all__ = ["extract_mesh"]
