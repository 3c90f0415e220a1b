"""Small open runs of every layer kind, untrained but visible, and field files of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from eugen_fields.models.isdf import ISDFModelConfig
from eugen_fields.models.mipnerf import MipNeRFModelConfig
from eugen_fields.models.nerf import NeRFModelConfig
from eugen_fields.models.planes import PlanesModelConfig
from eugen_fields.runs import RadianceRun, SDFRun
from eugen_fields.storing.cameras import Camera
from eugen_fields.storing.compression.planes import planes_of_bits
from eugen_fields.storing.compression.quantise import Quantised
from eugen_fields.storing.draft import Draft, draft_of
from eugen_fields.storing.loading import StoredField
from support.helpers import look_at_origin

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
SMALL = {"num_layers": 3, "layer_width": 24, "position_frequencies": 3, "skip_connections": ()}
KINDS: dict[str, dict[str, Any]] = {
    "dense": {"layer": "dense"},
    "dense with skip connections": {"layer": "dense", "skip_connections": (1, 3)},
    "eugen": {"layer": "eugen", "num_features": 8},
    "eugen with skip connections": {"layer": "eugen", "num_features": 8, "skip_connections": (2,)},
    "eugen without norm": {"layer": "eugen", "num_features": 8, "norm": False, "projection_bias": True},
    "eugen of order 2": {"layer": "eugen", "num_features": 6, "order": 2, "replace": (2,)},
    "eugen of order 3, shared": {
        "layer": "eugen", "num_features": 5, "order": 3, "replace": (1,), "share_projections": True,
        "feature_activation": "sine",
    },
    "eugen with fixed projections": {"layer": "eugen", "num_features": 8, "train_projections": False},
    "eugen-residual": {"layer": "eugen-residual", "num_features": 8, "feature_activation": "tanh"},
    "eugen-residual behind dense": {"layer": "eugen-residual", "num_features": 8, "replace": (1, 2)},
    "prp, orthogonal": {"layer": "prp"},
    "prp, gaussian": {"layer": "prp", "matrix": "gaussian", "skip_connections": (2,)},
    "prp, ternary": {"layer": "prp", "matrix": "ternary"},
    "prp, hadamard": {"layer": "prp", "matrix": "hadamard"},
    "prp with a low-rank term": {"layer": "prp", "rank": 3},
    "prp in one layer": {"layer": "prp", "replace": (2,)},
    "low-rank": {"layer": "low-rank", "rank": 4},
    "snnk": {"layer": "snnk", "num_features": 8, "replace": (1,)},
}  # fmt: skip


def camera(size: int = 24) -> Camera:
    """One that looks at the origin."""
    pose = torch.from_numpy(look_at_origin(0.4, 0.3, 3.0)[:3]).float()
    return Camera(pose, size, size, 1.4 * size, 1.4 * size, size / 2, size / 2)


def stir(field: torch.nn.Module, seed: int) -> None:
    """Moves every parameter a little, so that none is the zero that it starts with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in field.parameters():
            value += 0.1 * torch.randn(value.shape, generator=generator) / max(1, value.shape[-1]) ** 0.5


def radiance_run(folder: Path, seed: int = 0, **options: Any) -> RadianceRun:
    """Clouds in the middle of the box: cells near its border are empty."""
    torch.manual_seed(seed)
    config = NeRFModelConfig(
        **SMALL | {"feature_dim": 8, "color_width": 16, "direction_frequencies": 2} | options,
        samples_per_diagonal=48,
        grid_resolution=12,
        eval_num_samples_per_chunk=1 << 13,
    )
    field = config.build_field(BOX)
    stir(field, seed)
    field.initial_density = 3.0
    grid = config.build_grid(BOX)
    grid.restrict(grid.cell_centers().norm(dim=-1) < 0.8)
    world_from_scene = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    field = field.eval().requires_grad_(False)
    return RadianceRun(folder, "eugen-nerf-tiny", 7, config, field, BOX.clone(), world_from_scene, grid)


def cone_run(folder: Path, kind: str = "planes", seed: int = 0, **options: Any) -> RadianceRun:
    """As radiance_run, of feature planes or of waves averaged over cones."""
    torch.manual_seed(seed)
    shared: dict[str, Any] = {
        "size": "tiny", "regime": "bounded", "num_layers": 1, "layer_width": 16, "feature_dim": 6, "color_width": 12,
        "direction_frequencies": 2, "samples_per_diagonal": 48, "grid_resolution": 12,
        "eval_num_samples_per_chunk": 1 << 13,
    }  # fmt: skip
    if kind == "planes":
        shared |= {"plane_resolutions": (5, 9), "plane_channels": 6}
    else:
        shared["position_frequencies"] = 4
    config_class = PlanesModelConfig if kind == "planes" else MipNeRFModelConfig
    config = config_class(**shared | options)
    field = config.build_field(BOX)
    stir(field, seed)
    field.initial_density = 3.0
    field.footprint.fill_(0.02)
    grid = config.build_grid(BOX)
    grid.restrict(grid.cell_centers().norm(dim=-1) < 0.8)
    field = field.eval().requires_grad_(False)
    transform = torch.eye(4, dtype=torch.float64)
    return RadianceRun(folder, f"eugen-{kind}-tiny", 7, config, field, BOX.clone(), transform, grid)


def distance_run(folder: Path, seed: int = 0, **options: Any) -> SDFRun:
    """Any distances, shifted so that some are negative; surfaces were seen near the origin."""
    torch.manual_seed(seed)
    config = ISDFModelConfig(**SMALL | options, position_scale=0.4, activation="softplus100", output_scale=0.5)
    field = config.build_field(BOX)
    stir(field, seed)
    seen = config.build_seen(BOX)
    points = 2.0 * torch.rand(4000, 3, generator=torch.Generator().manual_seed(seed)) - 1.0
    seen.add(points[points.norm(dim=-1) < 0.6])
    field = field.eval().requires_grad_(False)
    return SDFRun(folder, "eugen-isdf-tiny", 7, config, field, BOX.clone(), torch.eye(4, dtype=torch.float64), seen)


CONES: dict[str, dict[str, Any]] = {
    "planes": {"kind": "planes", "layer": "dense"},
    "sums of planes with waves": {
        "kind": "planes", "layer": "eugen", "num_features": 8, "plane_combination": "sum", "position_frequencies": 2,
    },
    "planes of one channel, with a skip connection": {
        "kind": "planes", "layer": "prp", "plane_channels": 1, "num_layers": 2, "skip_connections": (1,),
    },
    "cones along the axes": {"kind": "mipnerf", "layer": "eugen", "num_features": 8, "basis": "diagonal"},
    "cones along an icosahedron": {"kind": "mipnerf", "layer": "prp", "basis": "icosahedron"},
}  # fmt: skip
"""Of cone_run."""
MAKE_RUN: dict[str, Callable[..., RadianceRun | SDFRun]] = {"radiance": radiance_run, "distance": distance_run}


def full(run: RadianceRun | SDFRun) -> tuple[Draft, StoredField]:
    """A run as a field file in float32."""
    draft = draft_of(run, [camera()])
    return draft, draft.open()


def encoded(draft: Draft) -> bytes:
    """The bytes of a field file of full precision, but for planes, which are in 8 bits as pages show them."""
    planes = {name: value for name, value in draft.numbers.items() if value.dim() == 4}
    if not planes:
        return draft.encode()
    rounded = {name: planes_of_bits(value, torch.ones_like(value), 8) for name, value in planes.items()}
    return draft.encode(Quantised(planes=rounded))
