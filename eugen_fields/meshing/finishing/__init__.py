"""Triangle meshes cleaned, measured and given colours."""
