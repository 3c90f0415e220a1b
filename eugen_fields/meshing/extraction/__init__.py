"""Fields evaluated on lattices and turned into triangles."""
