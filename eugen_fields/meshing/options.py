"""What can be asked of an exported surface: the options of eugen-export, and the check that they go together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from eugen_fields.errors import InputError, show_number

if TYPE_CHECKING:
    from eugen_fields.runs import Run

_RANGES = (
    ("resolution", 2, 4096),
    ("smooth", 0, 10_000),
    ("faces", 4, 1_000_000_000),
    ("texture", 16, 16_384),
    ("points", 1, 100_000_000),
)
"""Least and most of each option; what lies above fits no computer's memory."""
_CORNERS = ("XMIN", "YMIN", "ZMIN", "XMAX", "YMAX", "ZMAX")
TEXTURE_FACES = 20000
"""Triangles that a mesh is reduced to before it is unwrapped, where no other number is asked for."""


@dataclass(kw_only=True)
class MeshOptions:
    """Selects the surface of a run and its form."""

    resolution: int = 256
    """Lattice cells along the longest side of the box."""
    level: float | None = None
    """Value of the field at the surface: a density per unit of the training frame (None: found by following rays
    through the field), or a signed distance, metres in front of the surface (None: 0, the surface itself)."""
    box: Annotated[
        tuple[float, float, float, float, float, float] | None, tyro.conf.arg(metavar=" ".join(_CORNERS))
    ] = None
    """Box in which to look for the surface, in the coordinates of --frame. None: the scene box; for captures
    what most of the cameras see, and unbounded scenes go on around it."""
    region: Literal["seen", "box"] = "seen"
    """Part of a signed distance field that is exported. seen: surfaces near where some were seen; box: everything in
    the box, closed at its sides."""
    min_component: float = 0.02
    """Drop separate pieces with less than this share of the largest piece's triangles. 0: keep all; 1: keep the
    largest."""
    watertight: bool = False
    """Close an open mesh by Poisson reconstruction: gaps are filled smoothly, the rest stays about the same. A
    closed mesh is left as it is."""
    smooth: int = 0
    """Rounds of smoothing (Taubin's method, which does not shrink); 10 remove the ripple of the lattice."""
    faces: int | None = None
    """Reduce the mesh to this many triangles (quadric decimation). None: keep all of them."""
    texture: int | None = None
    """Bake the colours of a .glb or .obj into an image with this many pixels along its longer side. The mesh is first
    reduced to 20000 triangles, or to --faces, since unwrapping takes long."""
    points: int | None = None
    """Write this many points of the surface with normals and colours (.ply) in place of a mesh."""
    frame: Literal["world", "training"] = "world"
    """Coordinates of the output: world, those of the data set's own poses (before an applied_transform of its file), or
    training, those of the network."""

    def check(self) -> None:
        """Raises InputError where an option is out of range or two of them do not go together."""
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"--{name} is {value}; it must be at least {least}.")
            if value is not None and value > most:
                raise InputError(f"--{name} is {show_number(value)}; it must be at most {most}.")
        if not 0 <= self.min_component <= 1:
            raise InputError(f"--min-component is {self.min_component}; it must lie between 0 and 1.")
        if self.box is not None:
            if len(self.box) != 6 or not all(map(math.isfinite, self.box)):
                raise InputError(f"--box is {_numbers(self.box)}; it must be six numbers: {' '.join(_CORNERS)}.")
            for axis, low, high in zip("xyz", self.box[:3], self.box[3:]):
                if not low < high:
                    raise InputError(
                        f"--box is {_numbers(self.box)}; along {axis} it starts at {low:g} and ends at {high:g}, but "
                        f"the start must be the smaller one. The order is {' '.join(_CORNERS)}."
                    )
        if self.points is not None:
            for name in ("faces", "texture"):
                if getattr(self, name) is not None:
                    raise InputError(f"--points writes points without a mesh, so --{name} has no use; leave one out.")

    def check_run(self, run: Run) -> None:
        """Raises InputError where an option is not for the kind of run."""
        from eugen_fields.runs import SDFRun

        is_distance = isinstance(run, SDFRun)
        if self.level is not None and not (math.isfinite(self.level) and (self.level > 0 or is_distance)):
            wanted = "a finite distance" if is_distance else "a positive density"
            raise InputError(f"--level is {self.level}; it must be {wanted}.")
        if self.region == "box" and not is_distance:
            raise InputError(
                f"--region box is for fields of signed distance; {run.folder} is of {run.method_name}, a field of "
                "density, all of which is exported. Leave it out (--box crops)."
            )
        if self.texture is not None and is_distance:
            raise InputError(
                f"--texture has no colours to bake: {run.folder} is of {run.method_name}, a field of signed distance "
                "alone. Leave it out."
            )

    def check_output(self, path: Path) -> None:
        """Raises InputError where the ending of the file is not for what is asked."""
        from eugen_fields.meshing.files import check_output

        endings, wanted_by = None, ""
        if self.points is not None:
            endings, wanted_by = (".ply",), f"--points {self.points}"
        elif self.texture is not None:
            endings, wanted_by = (".glb", ".obj"), f"--texture {self.texture}"
        if endings and path.suffix.lower() not in endings:
            raise InputError(f"{wanted_by} wants an --output that ends in {' or '.join(endings)}; it is {path}.")
        check_output(path)

    def default_name(self) -> str:
        """Default name of the file in the run's folder."""
        return "points.ply" if self.points is not None else "mesh.glb" if self.texture is not None else "mesh.ply"


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
