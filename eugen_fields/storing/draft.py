"""A run as the content of a field file, in full precision: what quantisation starts from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eugen_fields.encodings import IntegratedEncoding, PlaneEncoding
from eugen_fields.errors import InputError
from eugen_fields.fields import ConeRadianceField, NeRFField, VanillaField
from eugen_fields.layers.folding import fold
from eugen_fields.layers.folding.folded import FoldedMLP
from eugen_fields.models.nerf import NeRFModelConfig
from eugen_fields.models.radiance import BACKGROUNDS
from eugen_fields.models.summary import layers_summary
from eugen_fields.runs import RadianceRun, Run, SDFRun
from eugen_fields.sampling import SURFACE_BACKGROUND, SURFACE_COLOR
from eugen_fields.storing import container
from eugen_fields.storing.cameras import Camera
from eugen_fields.storing.compression.numbers import storable
from eugen_fields.storing.compression.quantise import Quantised
from eugen_fields.storing.damage import DamagedFile
from eugen_fields.storing.loading import StoredField, understand
from eugen_fields.storing.networks import describe
from eugen_fields.storing.planes import plane_arrays

_SLICE_SHARE = 0.62
"""Of the height of a scene box: a slice there takes the ceiling off a room and leaves what stands in it."""
_PLANE_STEPS = 512
"""Samples along the diagonal of the scene box at least, of fields of planes: with these the renders of a file, which
has no proposals, have the PSNR of those of its run (README.md)."""
_STOP_TRANSMITTANCE = 1e-3
"""Of runs that know none."""


@dataclass
class Draft:
    """What a field file is made of, with the numbers of its networks and planes in float32."""

    kind: str
    scene: dict[str, Any]
    """All but `measured`."""
    numbers: dict[str, Tensor]
    """Matrices and vectors of the networks, and planes (3, channels, R, R), by name."""
    arrays: dict[str, np.ndarray]
    """Everything else that is in the file: grids and cameras."""
    source: Path
    """Folder of the run, for messages."""
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def matrices(self) -> list[str]:
        """Names of what can be stored as integers."""
        return [name for name, value in self.numbers.items() if value.dim() == 2]

    def encode(self, quantised: Quantised | None = None) -> bytes:
        """The bytes of the field file.

        Args:
            quantised: its numbers, vectors in float16; None: all in float32.

        Raises:
            InputError: the field is too large for a field file.
        """
        try:
            return container.encode(self.kind, self._scene(), self._arrays(quantised))
        except ValueError as error:
            raise InputError(f"{self.source} cannot be stored: {error}.") from None

    def open(self, quantised: Quantised | None = None) -> StoredField:
        """The field that would be read from such a file.

        Raises:
            InputError: the field is too large for a field file.
        """
        content = container.Content(self.kind, self._scene(), self._arrays(quantised), container.VERSION, "")
        try:
            return understand(content, self.source)
        except DamagedFile as error:
            raise InputError(f"{self.source} cannot be stored: {error.what}.") from None

    def _scene(self) -> dict[str, Any]:
        return self.scene | {"measured": self.measured}

    def _arrays(self, quantised: Quantised | None) -> dict[str, np.ndarray]:
        arrays = dict(self.arrays)
        for name, value in self.numbers.items():
            if value.dim() == 4:
                planes = quantised.planes.get(name) if quantised else None
                arrays |= plane_arrays(name, value) if planes is None else planes.arrays(name)
                continue
            rounded = quantised.matrices.get(name) if quantised else None
            if rounded is not None:
                arrays[name] = rounded.integers.to(torch.int8).numpy()
                arrays[f"{name}.scale"] = rounded.scales.half().numpy()
            elif quantised is not None and value.dim() == 1:
                vector = storable(quantised.vectors.get(name, value))
                half = vector.half()
                arrays[name] = (half if half.float().equal(vector) else vector).numpy()
            else:
                arrays[name] = value.numpy()
        return arrays


def draft_of(run: Run, cameras: Sequence[Camera] = ()) -> Draft:
    """A run in the form of a field file.

    Args:
        run: of any method, in a box.
        cameras: that go with it, at most storing.scene.MOST_CAMERAS.

    Raises:
        InputError: the run is of a kind that cannot be stored; the message says what would do.
    """
    check_can_be_stored(run)
    shared: dict[str, Any] = {
        "name": _scene_name(run),
        "method": run.method_name,
        "layer": layers_summary(run.model_config, run.field),
        "step": run.step,
        "aabb": run.aabb.tolist(),
        "world_from_scene": run.world_from_scene.flatten().tolist(),
        "position_frequencies": _octaves(run),
        "lenses": _lenses(cameras),
    }
    try:
        networks, numbers = _networks(run)
    except ValueError as error:
        raise InputError(f"{run.folder} cannot be stored: {error}.") from None
    arrays = {}
    if cameras:
        poses = torch.stack([camera.pose.flatten() for camera in cameras])
        arrays["cameras"] = poses.half().numpy() if float(poses.abs().max()) < 1000 else poses.numpy()
    if isinstance(run, RadianceRun):
        kind, own = _radiance(run)
        arrays["grid"] = np.packbits(run.grid.occupied.cpu().numpy(), bitorder="little")
    else:
        assert isinstance(run, SDFRun)
        arrays["surface"] = run.seen.surface_bits.cpu().numpy()
        arrays["open"] = run.seen.open_bits.cpu().numpy()
        own = {
            "background": list(SURFACE_BACKGROUND),
            "scale": float(run.field.scale),
            "output_scale": run.field.output_scale,
            "trace_steps": run.model_config.trace_steps,
            "seen_resolution": run.seen.resolution,
            "surface_color": list(SURFACE_COLOR),
            "slice_height": float(run.aabb[0, 2].lerp(run.aabb[1, 2], _SLICE_SHARE)),
        }
        kind = "distance"
    return Draft(kind, shared | own | {"networks": networks}, numbers, arrays, run.folder)


def _radiance(run: RadianceRun) -> tuple[str, dict[str, Any]]:
    """The kind of a field of density and colour, and what its scene says beside what every scene does."""
    config, network = run.model_config, run.field
    assert isinstance(network, NeRFField | ConeRadianceField)
    own: dict[str, Any] = {
        "background": list(BACKGROUNDS[config.eval_background]),
        "direction_frequencies": network.direction_encoding.num_frequencies,
        "feature_dim": network.feature_dim,
        "initial_density": network.initial_density,
        "step_size": run.step_size,
        "near_plane": config.near_plane,
        "stop_transmittance": _STOP_TRANSMITTANCE,
        "grid_resolution": run.grid.resolution,
    }
    if isinstance(network, NeRFField):
        assert isinstance(config, NeRFModelConfig)
        return "radiance", own | {"stop_transmittance": config.stop_transmittance}
    own["footprint"] = float(network.footprint)
    encoding = network.position_encoding
    if isinstance(encoding, IntegratedEncoding):
        return "mipnerf", own | {"basis": encoding.directions}
    assert isinstance(encoding, PlaneEncoding)
    diagonal = float((run.aabb[1] - run.aabb[0]).norm())
    return "planes", own | {
        "step_size": min(run.step_size, diagonal / _PLANE_STEPS),
        "plane_resolutions": list(encoding.resolutions),
        "plane_channels": encoding.channels,
        "plane_combination": encoding.combination,
    }


def check_can_be_stored(run: Run) -> None:
    """Raises InputError for a run that field files have no kind for."""
    if isinstance(run, SDFRun):
        return
    if isinstance(run.field, VanillaField):
        raise InputError(
            f"{run.folder} has the network of nerfstudio's vanilla-nerf, which cannot be stored in a field file. "
            "Train eugen-nerf or prp-nerf on the scene and store that run."
        )
    if isinstance(run.field, NeRFField):
        return
    assert isinstance(run.field, ConeRadianceField)
    if not run.field.bounded:
        reason = "goes on without bounds, and field files hold what lies in a box"
    elif run.field.appearance is not None:
        reason = "has an appearance code for each training image, which field files have no place for"
    elif not isinstance(run.field.position_encoding, IntegratedEncoding | PlaneEncoding):
        reason = "reads the hash grid of tiny-cuda-nn, which field files have no kind for"
    else:
        return
    raise InputError(
        f"{run.folder} is of {run.method_name} and {reason}. eugen-export --output writes a mesh of it; runs without "
        "appearance codes of what lies in a box can be stored: those of Blender scenes, or any of eugen-nerf-tiny."
    )


def _networks(run: Run) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Stages of the folded networks by name, and all numbers, those of planes included."""
    form: Any = fold(copy.deepcopy(run.field).cpu().float(), materialise=False)
    networks, numbers = {}, {}
    for name in ("trunk", "color_head"):
        network = getattr(form, name, None)
        if network is not None:
            assert isinstance(network, FoldedMLP)
            networks[name], values = describe(network, name)
            numbers |= values
    encoding = form.position_encoding
    if isinstance(encoding, PlaneEncoding):
        numbers |= {f"planes.{level}": planes.detach() for level, planes in enumerate(encoding.planes)}
    return networks, numbers


def _octaves(run: Run) -> int:
    encoding: Any = run.field.position_encoding
    if isinstance(encoding, PlaneEncoding):
        encoding = encoding.waves
    return encoding.num_frequencies


def _lenses(cameras: Sequence[Camera]) -> list[list[float]]:
    """One lens where all cameras have the same."""
    lenses = [list(camera.lens) for camera in cameras]
    return lenses[:1] if lenses and all(lens == lenses[0] for lens in lenses) else lenses


def _scene_name(run: Run) -> str:
    """The scene's name, which nerfstudio has as the folder above those of the method and the time."""
    *_, scene, method, own = ("", "", *run.folder.resolve().parts)
    name = scene if method == run.method_name else own
    return "".join(character if character.isprintable() else "?" for character in name)[:200]
