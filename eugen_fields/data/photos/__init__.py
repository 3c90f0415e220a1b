"""A folder of photos without poses becomes a capture that nerfstudio-data reads: `eugen-photos`."""
