"""The networks that the sizes of methods stand for: what flags that are left out mean."""

from __future__ import annotations

from typing import Any

MIPNERF_SIZES: dict[str, dict[str, Any]] = {
    "paper": {
        "replace": (5, 6, 7),
        "num_layers": 8,
        "layer_width": 1024,
        "feature_dim": 256,
        "color_width": 128,
        "position_frequencies": 12,
        "basis": "icosahedron",
        "skip_connections": (4,),
        "proposal_layer": "dense",
        "proposal_num_layers": 4,
        "proposal_width": 256,
        "proposal_samples": (64, 64),
        "num_samples": 32,
    },
    "default": {
        "replace": None,
        "num_layers": 8,
        "layer_width": 256,
        "feature_dim": 256,
        "color_width": 128,
        "position_frequencies": 12,
        "basis": "icosahedron",
        "skip_connections": (4,),
        "proposal_layer": None,
        "proposal_num_layers": 4,
        "proposal_width": 64,
        "proposal_samples": (64, 64),
        "num_samples": 32,
    },
    "tiny": {
        "replace": None,
        "num_layers": 4,
        "layer_width": 128,
        "feature_dim": 32,
        "color_width": 64,
        "position_frequencies": 10,
        "basis": "diagonal",
        "skip_connections": (),
        "proposal_layer": None,
        "proposal_num_layers": 2,
        "proposal_width": 32,
        "proposal_samples": (32,),
        "num_samples": 16,
    },
}
"""Of Mip-NeRF-style methods. "paper": the networks of "EUGens" (arXiv 2410.09771) in its Mip-NeRF 360
experiment, three of eight layers replaced; which three is not said there, here it is those behind the skip connection.
"""

PLANES_SIZES: dict[str, dict[str, Any]] = {
    "default": {
        "replace": None,
        "plane_resolutions": (64, 128, 256, 512),
        "plane_channels": 16,
        "num_layers": 2,
        "layer_width": 128,
        "feature_dim": 64,
        "color_width": 128,
        "skip_connections": (),
        "proposal_resolutions": (64, 128),
        "proposal_channels": 8,
        "proposal_layer": "dense",
        "proposal_num_layers": 1,
        "proposal_width": 32,
        "proposal_samples": (64, 64),
        "num_samples": 32,
    },
    "tiny": {
        "replace": None,
        "plane_resolutions": (32, 64, 128, 256),
        "plane_channels": 8,
        "num_layers": 1,
        "layer_width": 64,
        "feature_dim": 32,
        "color_width": 64,
        "skip_connections": (),
        "proposal_resolutions": (32, 64),
        "proposal_channels": 4,
        "proposal_layer": "dense",
        "proposal_num_layers": 2,
        "proposal_width": 32,
        "proposal_samples": (32,),
        "num_samples": 16,
    },
}
"""Of plane methods."""
