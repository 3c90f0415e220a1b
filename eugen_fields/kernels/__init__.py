"""Fast paths for inference, each beside a plain torch reference. Needs torch and eugen_fields.layers alone."""

from eugen_fields.kernels.tiled import DEFAULT_TILE, TiledMLP, tiled

__all__ = ["DEFAULT_TILE", "TiledMLP", "tiled"]
