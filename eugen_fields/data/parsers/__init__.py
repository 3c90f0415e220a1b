"""nerfstudio's data parsers with their reading of cameras replaced: what a file says is used, or refused by name."""
