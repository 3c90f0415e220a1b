"""What a field file says beside its numbers: read from JSON, every entry checked.

FORMAT.md lists the entries. Unknown ones are passed over in files of a later minor version and refused in others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from eugen_fields.encodings.integrated import Basis
from eugen_fields.encodings.planes import Combination
from eugen_fields.errors import InputError
from eugen_fields.storing.damage import DamagedFile

MOST_FREQUENCIES = 16
MOST_CELLS = 256
"""Cells of a grid along each axis."""
MOST_CAMERAS = 64
MOST_PIXELS = 1 << 26
"""Of the picture of a camera."""
MOST_STEPS = 1 << 14
"""Samples along the diagonal of the scene box."""
MOST_LEVELS = 8
"""Resolutions of feature planes."""
MOST_SIDE = 1024
"""Entries of a plane along each side."""
MOST_CHANNELS = 64
"""Of a plane."""
MOST_ENTRIES = 1 << 24
"""Of all planes."""
_MOST_TEXT = 200
_FARTHEST = 1e6
_MEASURED_NUMBERS = ("psnr_before", "psnr_after", "psnr_of_change", "distance_change")

Box = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What every kind of field has."""

    name: str
    """Name of the scene, for people."""
    method: str
    """Method that trained the field."""
    layer: str
    """Kind of its hidden layers and their options, for people."""
    step: int
    """Training step."""
    aabb: Box
    """Scene box: lower and upper corner, scene units."""
    world_from_scene: tuple[float, ...]
    """Rows of the matrix that takes points of the scene to the world of the data set: 16 numbers."""
    position_frequencies: int
    """Octaves of the encoding of positions."""
    background: tuple[float, float, float]
    """RGB behind the field."""
    lenses: tuple[tuple[float, ...], ...] = ()
    """width, height, fx, fy, cx, cy of the cameras, pixels; one for all cameras, or one for each."""
    measured: dict[str, Any] = field(default_factory=dict)
    """What writing the file cost: `on` says what was compared, and the other entries are numbers by name."""


@dataclass(frozen=True, kw_only=True)
class RadianceScene(Scene):
    """A field of density and colour, with an occupancy grid."""

    direction_frequencies: int
    """Octaves of the encoding of directions."""
    feature_dim: int
    """Features that the trunk hands to the colour head."""
    initial_density: float
    """Factor of the density, per scene unit."""
    step_size: float
    """Length of a sample, scene units."""
    near_plane: float
    """Distance from the camera at which rays begin, scene units."""
    stop_transmittance: float
    """Transmittance at which rays end."""
    grid_resolution: int
    """Cells of the occupancy grid along each axis."""


@dataclass(frozen=True, kw_only=True)
class ConeScene(RadianceScene):
    """A field of density and colour that sees through cones as wide as pixels."""

    footprint: float
    """Standard deviation along one axis of what training saw, in the frame of the encoding; where rays are no cones,
    the field is evaluated for that."""


@dataclass(frozen=True, kw_only=True)
class MipNeRFScene(ConeScene):
    """A field that reads waves averaged over stretches of cones."""

    basis: Basis
    """Directions of the waves."""


@dataclass(frozen=True, kw_only=True)
class PlanesScene(ConeScene):
    """A field that reads feature planes."""

    plane_resolutions: tuple[int, ...]
    """Entries along each side of the planes of each level."""
    plane_channels: int
    """Features of each level."""
    plane_combination: Combination
    """How the three planes of a level are combined."""


@dataclass(frozen=True, kw_only=True)
class DistanceScene(Scene):
    """A field of signed distance, with the cells in which surfaces were seen. Scene units are metres."""

    scale: float
    """Factor on positions before they are encoded, per metre."""
    output_scale: float
    """Metres per unit of the network's output."""
    trace_steps: int
    """Steps of a ray."""
    seen_resolution: int
    """Cells of the grids along the longest side of the box."""
    surface_color: tuple[float, float, float]
    """RGB of the surface in full light."""
    slice_height: float
    """z of a telling horizontal slice."""


SCENES: dict[str, type[RadianceScene] | type[DistanceScene]] = {
    "radiance": RadianceScene,
    "mipnerf": MipNeRFScene,
    "planes": PlanesScene,
    "distance": DistanceScene,
}
"""What the scene of each kind of field is."""


class SceneReader:
    """Takes checked entries out of a JSON object.

    Args:
        entries: the object.
        source: name of the file, for messages.
    """

    def __init__(self, entries: dict[str, Any], source: str) -> None:
        self._left = dict(entries)
        self._source = source

    def read(self, kind: str) -> RadianceScene | DistanceScene:
        """The scene of a kind of field.

        Raises:
            InputError: an entry is missing or out of range.
        """
        shared: dict[str, Any] = {
            "name": self.text("name"),
            "method": self.text("method"),
            "layer": self.text("layer"),
            "step": self.count("step", 0, 1 << 40),
            "aabb": self._box(),
            "world_from_scene": self._matrix(),
            "position_frequencies": self.count("position_frequencies", 0, MOST_FREQUENCIES),
            "background": self.numbers("background", 3, 0.0, 1.0),
            "lenses": self._lenses(),
            "measured": self._facts("measured"),
        }
        if kind != "distance":
            return self._radiance(kind, shared)
        return DistanceScene(
            **shared,
            scale=self.number("scale", 1e-12, 1e12),
            output_scale=self.number("output_scale", 1e-12, 1e12),
            trace_steps=self.count("trace_steps", 1, 1024),
            seen_resolution=self.count("seen_resolution", 1, MOST_CELLS),
            surface_color=self.numbers("surface_color", 3, 0.0, 1.0),
            slice_height=self.number("slice_height", -_FARTHEST, _FARTHEST),
        )

    def _radiance(self, kind: str, shared: dict[str, Any]) -> RadianceScene:
        shared |= {
            "direction_frequencies": self.count("direction_frequencies", 0, MOST_FREQUENCIES),
            "feature_dim": self.count("feature_dim", 1, 1023),
            "initial_density": self.number("initial_density", 1e-12, 1e12),
            "step_size": self.number("step_size", 1e-12, _FARTHEST),
            "near_plane": self.number("near_plane", 0.0, _FARTHEST),
            "stop_transmittance": self.number("stop_transmittance", 0.0, 1.0),
            "grid_resolution": self.count("grid_resolution", 2, MOST_CELLS),
        }
        if math.dist(*shared["aabb"]) > MOST_STEPS * shared["step_size"]:
            raise self.wrong(f"more than {MOST_STEPS:,} samples lie along the diagonal of its scene box")
        if kind == "radiance":
            return RadianceScene(**shared)
        shared["footprint"] = self.number("footprint", 0.0, 2.0)
        if kind == "mipnerf":
            return MipNeRFScene(**shared, basis=self._word("basis", get_args(Basis)))
        return PlanesScene(
            **shared,
            plane_resolutions=self._resolutions("plane_resolutions"),
            plane_channels=self.count("plane_channels", 1, MOST_CHANNELS),
            plane_combination=self._word("plane_combination", get_args(Combination)),
        )

    def _resolutions(self, name: str) -> tuple[int, ...]:
        sides = self.take(name)
        if not isinstance(sides, list) or not 1 <= len(sides) <= MOST_LEVELS:
            raise self.wrong(f"{name} is not a list of 1 to {MOST_LEVELS} sizes")
        if not all(type(side) is int and 2 <= side <= MOST_SIDE for side in sides):
            raise self.wrong(f"{name} has a size that is not an integer from 2 to {MOST_SIDE}")
        return tuple(sides)

    def _word(self, name: str, words: tuple[Any, ...]) -> Any:
        value = self.take(name)
        if not isinstance(value, str) or value not in words:
            raise self.wrong(f"{name} is not one of {', '.join(words)}")
        return value

    def take(self, name: str) -> Any:
        if name not in self._left:
            raise self.wrong(f"its scene has no entry {name}")
        return self._left.pop(name)

    def finish(self, later: bool) -> None:
        """Checks that nothing is left that is not known, unless the file is of a later version."""
        if self._left and not later:
            raise self.wrong(f"its scene has {len(self._left)} entries that are not known")

    def text(self, name: str) -> str:
        value = self.take(name)
        if not isinstance(value, str) or len(value) > _MOST_TEXT or not value.isprintable():
            raise self.wrong(f"{name} is not a line of at most {_MOST_TEXT} printable characters")
        return value

    def count(self, name: str, least: int, most: int) -> int:
        value = self.take(name)
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(f"{name} is not an integer from {least} to {most}")
        return value

    def number(self, name: str, least: float, most: float) -> float:
        return self._number(self.take(name), name, least, most)

    def numbers(self, name: str, count: int, least: float, most: float) -> Any:
        return self._numbers(self.take(name), name, count, least, most)

    def wrong(self, what: str) -> InputError:
        return DamagedFile(self._source, what)

    def _number(self, value: Any, name: str, least: float, most: float) -> float:
        if type(value) not in (int, float) or not least <= value <= most:
            raise self.wrong(f"{name} is not a number from {least:g} to {most:g}")
        return float(value)

    def _numbers(self, values: Any, name: str, count: int, least: float, most: float) -> tuple[float, ...]:
        if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != count:
            raise self.wrong(f"{name} is not a list of {count} numbers")
        return tuple(self._number(value, name, least, most) for value in values)

    def _box(self) -> Any:
        corners = self.take("aabb")
        if not isinstance(corners, list) or len(corners) != 2:
            raise self.wrong("aabb is not a list of two corners")
        low, high = (self._numbers(corner, "aabb", 3, -_FARTHEST, _FARTHEST) for corner in corners)
        if not all(b - a > 1e-6 * max(1.0, abs(a), abs(b)) for a, b in zip(low, high)):
            raise self.wrong("the lower corner of aabb does not lie below the upper one")
        return low, high

    def _matrix(self) -> tuple[float, ...]:
        values = self.numbers("world_from_scene", 16, -1e9, 1e9)
        (a, b, c, _), (d, e, f, _), (g, h, i, _), last = (values[row : row + 4] for row in range(0, 16, 4))
        determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
        if last != (0.0, 0.0, 0.0, 1.0) or not abs(determinant) > 1e-30:
            raise self.wrong("world_from_scene is not an affine map that can be inverted")
        return values

    def _lenses(self) -> tuple[tuple[float, ...], ...]:
        lenses = self.take("lenses")
        if not isinstance(lenses, list) or len(lenses) > MOST_CAMERAS:
            raise self.wrong(f"lenses is not a list of at most {MOST_CAMERAS}")
        found = []
        for lens in lenses:
            width, height, fx, fy, cx, cy = self._numbers(lens, "lenses", 6, -1e6, 1e6)
            if not (1 <= width <= 65536 and 1 <= height <= 65536 and fx > 0 and fy > 0):
                raise self.wrong("lenses has a camera without a size or a focal length")
            if width * height > MOST_PIXELS:
                raise self.wrong(
                    f"lenses has a camera of {width * height:,.0f} pixels; at most {MOST_PIXELS:,} are allowed"
                )
            found.append((width, height, fx, fy, cx, cy))
        return tuple(found)

    def _facts(self, name: str) -> dict[str, Any]:
        facts = self.take(name)
        if not isinstance(facts, dict) or len(facts) > 16:
            raise self.wrong(f"{name} is not an object of at most 16 entries")
        inner = SceneReader(facts, self._source)
        return {
            self._entry_name(key): inner.text(key)
            if key == "on" or (isinstance(value, str) and key not in _MEASURED_NUMBERS)
            else inner.number(key, -1e12, 1e12)
            for key, value in facts.items()
        }

    def _entry_name(self, key: str) -> str:
        if len(key) > 64 or not key.isascii() or not key.replace("_", "").replace(".", "").isalnum():
            raise self.wrong("an entry of its scene has a name that none has")
        return key
