"""Feature planes of field files.

The planes of level L are an array `planes.L` of shape (3 channels, R, R): those along x and y first, channel by
channel, then y and z, then x and z. In int8, each of them has a scale and an offset, float16, in `planes.L.scale` and
`planes.L.offset`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from eugen_fields.storing.damage import DamagedFile
from eugen_fields.storing.scene import MOST_ENTRIES, PlanesScene


class RoundedPlanes(NamedTuple):
    """offset of the plane + its scale * integer."""

    integers: Tensor
    """Shape (3, channels, R, R), int8."""
    scales: Tensor
    """Shape (3, channels), numbers that float16 holds."""
    offsets: Tensor
    """As the scales."""

    def values(self) -> Tensor:
        """Shape (3, channels, R, R), float32."""
        return torch.addcmul(self.offsets[..., None, None], self.integers.float(), self.scales[..., None, None])

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """What a field file has for planes of a name."""
        return {
            name: self.integers.flatten(0, 1).numpy(),
            f"{name}.scale": self.scales.flatten().half().numpy(),
            f"{name}.offset": self.offsets.flatten().half().numpy(),
        }


def plane_arrays(name: str, planes: Tensor) -> dict[str, np.ndarray]:
    """What a field file has for planes (3, channels, R, R) in full precision."""
    return {name: planes.flatten(0, 1).numpy()}


def read_planes(arrays: dict[str, np.ndarray], scene: PlanesScene, source: str) -> list[Tensor]:
    """The planes of all levels, each (3, channels, R, R), float32, of arrays by name, from which they are taken out.

    Raises:
        InputError: they are too large, missing, or not of the sizes that the scene names.
    """
    count = 3 * scene.plane_channels
    entries = count * sum(side**2 for side in scene.plane_resolutions)
    if entries > MOST_ENTRIES:  # before any of them is made
        raise DamagedFile(source, f"its planes have {entries:,} entries; at most {MOST_ENTRIES:,} are allowed")
    found = []
    for level, side in enumerate(scene.plane_resolutions):
        name = f"planes.{level}"
        stored = _taken(arrays, name, (count, side, side), "if", source)
        values = torch.from_numpy(stored.astype(np.float32))
        if stored.dtype.kind == "i":
            scale, offset = (
                torch.from_numpy(_taken(arrays, f"{name}.{entry}", (count,), "f", source).astype(np.float32))
                for entry in ("scale", "offset")
            )
            values.mul_(scale[:, None, None]).add_(offset[:, None, None])
        found.append(values.view(3, scene.plane_channels, side, side))
    return found


def _taken(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], kinds: str, source: str) -> np.ndarray:
    array = arrays.pop(name, None)
    if array is None or array.dtype.kind not in kinds or array.shape != shape:
        raise DamagedFile(
            source, f"it has no array {name} of {math.prod(shape):,} numbers, {' x '.join(map(str, shape))}"
        )
    return array
