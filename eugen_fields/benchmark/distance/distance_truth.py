"""The exact distances that a signed distance field is measured against, from the two files beside a depth stream."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eugen_fields.errors import InputError

DISTANCES, MESH = "distance_ground_truth.npz", "mesh_ground_truth.npz"
SURFACE = 0.006
"""Metres: points nearer to the mesh than this are on it. Those sampled on surfaces lie up to about 5 mm before or
behind them (a fifth of all points; the next centimetre holds under 1 %), so their side is unknown."""
_MISMATCH = 0.02
_OTHER_MESH = 0.1


class TriangleDistance:
    """Exact unsigned distances to a triangle mesh, which need not be closed or oriented.

    Args:
        vertices: (V, 3), metres.
        faces: (F, 3), F > 0.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        import open3d

        self._tensor: Any = open3d.core.Tensor
        self._scene: Any = open3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(self._tensor(_array(vertices, np.float32)), self._tensor(_array(faces, np.uint32)))

    def distance(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """Metres to the nearest point of the mesh."""
        return (points - self.nearest(points)).norm(dim=-1)

    def nearest(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """The points of the mesh that are nearest to these."""
        queries = self._tensor(_array(points.numpy(), np.float32))
        return torch.from_numpy(self._scene.compute_closest_points(queries)["points"].numpy())


@dataclass(frozen=True)
class DistanceTruth:
    """Points in the free space and on the surfaces that a depth stream saw, and their distance to the nearest surface.

    As all of them were seen, that distance is also the signed one.
    """

    points: Float[Tensor, "points 3"]
    """World, metres. Those on surfaces are on the mesh."""
    distances: Float[Tensor, " points"]
    """Metres, 0 on surfaces."""
    vertices: Float[np.ndarray, "vertices 3"]
    """Corners of the true mesh, metres, whether a camera saw them or not."""
    triangles: Int[np.ndarray, "triangles 3"]

    @classmethod
    def load(cls, folder: Path) -> DistanceTruth:
        """Reads distance_ground_truth.npz (points, distance) and mesh_ground_truth.npz (vertices, triangles).

        Points nearer to the mesh than SURFACE move onto it: their distance becomes 0.

        Raises:
            InputError: naming the file and what it should hold.
        """
        folder = folder if folder.is_dir() else folder.parent
        points, distances = _read(folder / DISTANCES, "points", "distance")
        vertices, triangles = _read(folder / MESH, "vertices", "triangles")
        _check(folder / DISTANCES, "points", points, distances.shape[:1] + (3,))
        _check(folder / DISTANCES, "distance", distances, distances.shape[:1])
        _check(folder / MESH, "vertices", vertices, vertices.shape[:1] + (3,))
        _check(folder / MESH, "triangles", triangles, triangles.shape[:1] + (3,))
        if distances.min() < 0:
            raise InputError(f"{folder / DISTANCES}: a distance is {distances.min():g}; they are unsigned, in metres.")
        if triangles.dtype.kind not in "iu" or triangles.min() < 0 or triangles.max() >= len(vertices):
            raise InputError(f"{folder / MESH}: its triangles do not number its {len(vertices)} vertices. {_AGAIN}")
        if not (distances < SURFACE).any():
            raise InputError(f"{folder / DISTANCES}: none of its points is on a surface (within {SURFACE} m). {_AGAIN}")
        truth = cls(
            torch.from_numpy(_array(points, np.float32)),
            torch.from_numpy(_array(distances, np.float32)),
            _array(vertices, np.float32),
            _array(triangles, np.int64),
        )
        mismatch = (truth.mesh.distance(truth.points) - truth.distances).abs()
        share = float((mismatch > _MISMATCH).float().mean())
        if share > _OTHER_MESH:
            raise InputError(
                f"{folder}: {share:.0%} of the distances in {DISTANCES} are not those to the mesh in {MESH} (more than "
                f"{_MISMATCH} m off). The two files must be of one scene, in metres, in the world of the poses."
            )
        on_surface = truth.distances < SURFACE
        truth.points[on_surface] = truth.mesh.nearest(truth.points[on_surface])
        truth.distances[on_surface] = 0.0
        return truth

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def mesh(self) -> TriangleDistance:
        """Distances to the mesh, from anywhere."""
        return TriangleDistance(self.vertices, self.triangles)

    @property
    def on_surface(self) -> Bool[Tensor, " points"]:
        return self.distances == 0

    @cached_property
    def gradients(self) -> Float[Tensor, "points 3"]:
        """Of the distance: unit directions from the nearest point of the mesh; 0 on surfaces."""
        offsets = torch.nn.functional.normalize(self.points - self.mesh.nearest(self.points), dim=-1)
        return torch.where(self.on_surface[:, None], torch.zeros_like(offsets), offsets)

    def part(self, chosen: Bool[Tensor, " points"]) -> DistanceTruth:
        """Some of the points; the mesh stays. `truth.part(first_seen(stream, truth.points) <= frame)` is what can be
        asked of a map after a frame."""
        part = DistanceTruth(self.points[chosen], self.distances[chosen], self.vertices, self.triangles)
        part.__dict__["mesh"] = self.mesh  # building it takes longer than all else
        if "gradients" in self.__dict__:
            part.__dict__["gradients"] = self.gradients[chosen]
        return part


_AGAIN = "Make it again, or name another folder."


def _array(values: Any, dtype: Any) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=dtype)


def _read(path: Path, *names: str) -> list[np.ndarray]:
    wanted = " and ".join(names)
    if not path.is_file():
        raise InputError(
            f"{path} is missing: errors are measured against {DISTANCES} (points, distance) and {MESH} (vertices, "
            "triangles) beside the depth stream. scenes/room has both; scenes/render_room.py makes more."
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in names if name not in arrays]
            if missing:
                raise InputError(f"{path} holds {', '.join(arrays) or 'nothing'}, not {wanted}. {_AGAIN}")
            return [arrays[name] for name in names]
    except InputError:
        raise
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); it should hold {wanted}. {_AGAIN}") from None


def _check(path: Path, name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raises InputError unless an array has numbers, all finite, and this shape, which is not empty."""
    if array.shape != shape or array.size == 0:
        wanted = "x".join(map(str, shape[1:])) or "one number each"
        raise InputError(f"{path}: {name} has the shape {array.shape}; wanted are rows of {wanted}. {_AGAIN}")
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise InputError(f"{path}: {name} holds values that are no finite numbers. {_AGAIN}")
