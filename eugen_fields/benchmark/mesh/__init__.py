"""Extracted meshes against silhouettes and true shapes."""

from eugen_fields.benchmark.mesh.mesh import Mesh

__all__ = ["Mesh"]
