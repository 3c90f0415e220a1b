"""Scenes on disk as other programs write them: file names, frames, splits, smaller copies, and nerfstudio's parsers."""
