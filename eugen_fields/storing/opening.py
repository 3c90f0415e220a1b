"""Field files as open runs, so that what shows, exports and times runs does so with field files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from eugen_fields.fields import SDFField
from eugen_fields.layers import LAYER_KINDS
from eugen_fields.models.isdf import ISDFModelConfig
from eugen_fields.models.nerf import NeRFModelConfig
from eugen_fields.models.radiance import BACKGROUNDS
from eugen_fields.runs import RadianceRun, Run, SDFRun, open_run, resolve_device
from eugen_fields.storing import container
from eugen_fields.storing.loading import StoredField, load_field
from eugen_fields.storing.scene import DistanceScene, RadianceScene

_SMALLEST: dict[str, Any] = {"num_layers": 1, "layer_width": 1, "skip_connections": ()}
"""Sizes of the network that a model builds before the stored one takes its place."""
SUFFIX = ".field"


@dataclass(kw_only=True)
class StoredRadianceRun(RadianceRun):
    """A field of density and colour from a field file; `folder` is the file."""

    stored: StoredField


@dataclass(kw_only=True)
class StoredSDFRun(SDFRun):
    """A field of signed distance from a field file; `folder` is the file."""

    stored: StoredField


def open_run_or_file(path: str | Path, device: str | torch.device | None = None, step: int | None = None) -> Run:
    """Opens a run, or a field file as one.

    Args:
        path: a field file, or what runs.open_run takes.
        device: where the field goes. None: CUDA if there is one, else the CPU.
        step: the checkpoint of a run; field files have one step alone.

    Raises:
        InputError: naming the path, what was found and what would do.
    """
    path = Path(path).expanduser()
    if not is_field_file(path):
        return open_run(path, device, step)
    return run_of(load_field(path), device)


def is_field_file(path: Path) -> bool:
    """Whether a path means a field file: by its ending, whatever is in it, or by its first bytes, whatever it is
    called, since mail and browsers rename files."""
    if path.is_dir():
        return False
    return path.suffix == SUFFIX or (path.is_file() and container.begins_so(path))


def run_of(stored: StoredField, device: str | torch.device | None = None) -> Run:
    """A stored field as an open run, on a device. Raises InputError for a device that cannot be used."""
    stored = stored.to(resolve_device(device))
    scene = stored.scene
    common: dict[str, Any] = {
        "folder": stored.path,
        "method_name": scene.method,
        "step": scene.step,
        "aabb": stored.aabb,
        "world_from_scene": stored.world_from_scene,
        "stored": stored,
    }
    kind = scene.layer.split(" ")[0].rstrip(",")
    shared: dict[str, Any] = _SMALLEST | {"layer": kind if kind in LAYER_KINDS else "dense"}
    if isinstance(scene, RadianceScene):
        assert not isinstance(stored.field, SDFField) and stored.grid is not None
        background: Any = min(BACKGROUNDS, key=lambda name: _distance(BACKGROUNDS[name], scene.background))
        config = NeRFModelConfig(
            **shared,
            feature_dim=1,
            color_width=1,
            samples_per_diagonal=max(1, round(float((stored.aabb[1] - stored.aabb[0]).norm()) / scene.step_size)),
            near_plane=scene.near_plane,
            stop_transmittance=scene.stop_transmittance,
            grid_resolution=scene.grid_resolution,
            eval_background=background,
            eval_num_samples_per_chunk=1 << 13,
            eval_num_rays_per_chunk=1 << 13,
        )
        return StoredRadianceRun(model_config=config, field=stored.field, grid=stored.grid, **common)
    assert isinstance(scene, DistanceScene) and isinstance(stored.field, SDFField) and stored.seen is not None
    return StoredSDFRun(
        model_config=ISDFModelConfig(**shared, trace_steps=scene.trace_steps),
        field=stored.field,
        seen=stored.seen,
        **common,
    )


def _distance(color: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum((a - b) ** 2 for a, b in zip(color, other))


def stored_of(run: Run) -> StoredField | None:
    """What a run was opened from, if that was a field file."""
    return getattr(run, "stored", None)
