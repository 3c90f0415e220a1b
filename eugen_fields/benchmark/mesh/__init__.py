"""Extracted meshes against silhouettes and true shapes."""
