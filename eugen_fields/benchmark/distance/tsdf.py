"""The baseline without a network: TSDF fusion of the same frames, and distances to the surface that it finds."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from eugen_fields.benchmark.distance.distance_truth import TriangleDistance
from eugen_fields.data.depth.depth_layouts import FLIP
from eugen_fields.data.depth.depth_streams import DepthFrame
from eugen_fields.errors import InputError
from eugen_fields.sampling.depth_rays import camera_directions

_MOST_VOXELS = 1 << 25
"""Of the box around what was seen; its distance transform takes about 40 bytes for each."""
_BLOCK = 8


class TSDF:
    """Truncated signed distances fused from depth images on sparse blocks of voxels, with Open3D.

    Source: "A volumetric method for building complex models from range images" (Curless and Levoy, 1996). Distances
    beyond the truncation come from a Euclidean distance transform of the voxels on either side of the surface, as in
    Voxblox, FIESTA and nvblox; `exact` measures them from the mesh instead.

    Of voxels of 2 to 5 cm, truncations of 2 to 6 voxels and voxels that 1 to 3 frames must have seen, the defaults (and
    1 frame) had the least visible error on scenes/room. There a distance is off by 0.5 cm where its nearest surface was
    seen, and by 0.6 cm with voxels of 3 cm, whose distance transform takes a quarter of the time.

    Args:
        voxel_size: metres.
        truncation: in voxels.
        max_depth: metres; what is farther is not fused.
    """

    def __init__(self, voxel_size: float = 0.02, *, truncation: float = 3.0, max_depth: float = 10.0) -> None:
        import open3d

        self.voxel_size = voxel_size
        self.truncation = truncation
        self.max_depth = max_depth
        self.integrate_seconds = 0.0
        """Spent on fusing frames, in all."""
        self.distance_seconds = 0.0
        """Spent on distance transforms, in all: one for all calls between two frames."""
        self._open3d: Any = open3d
        number, channels = open3d.core.float32, open3d.core.SizeVector([1])
        self._grid: Any = open3d.t.geometry.VoxelBlockGrid(
            ("tsdf", "weight"), (number,) * 2, (channels,) * 2, voxel_size, _BLOCK, 2000, open3d.core.Device("CPU:0")
        )
        self._lattice: _Lattice | None = None

    def integrate(self, frame: DepthFrame) -> bool:
        """Fuses one frame. False, and nothing is done, for one without a finite pose or any depth in range."""
        depth = torch.nan_to_num(frame.depth, nan=0.0, posinf=0.0, neginf=0.0).numpy()
        if not torch.isfinite(frame.pose).all() or not ((depth > 0) & (depth < self.max_depth)).any():
            return False
        start = time.perf_counter()
        tensor = self._open3d.core.Tensor
        fx, fy, cx, cy = frame.intrinsics.double().tolist()
        # Open3D has the middle of the first pixel at (0, 0), y down and z forward, and wants world-to-camera
        camera = tensor(np.array([[fx, 0.0, cx - 0.5], [0.0, fy, cy - 0.5], [0.0, 0.0, 1.0]]))
        pose = tensor(np.linalg.inv(frame.pose.double().numpy() @ FLIP))
        image = self._open3d.t.geometry.Image(tensor(np.ascontiguousarray(depth[..., None], dtype=np.float32)))
        blocks = tensor(self._blocks(frame, torch.from_numpy(depth)))
        self._grid.integrate(blocks, image, camera, pose, 1.0, float(self.max_depth), float(self.truncation))
        self._lattice = None
        self.integrate_seconds += time.perf_counter() - start
        return True

    def _blocks(self, frame: DepthFrame, depth: Float[Tensor, "height width"]) -> Int[np.ndarray, "blocks 3"]:
        """Indices of the blocks that the band around what a frame saw passes through.

        Open3D's own search looks at one pixel in 16, which leaves holes where the images are small.
        """
        reach, side = self.truncation * self.voxel_size, _BLOCK * self.voxel_size
        depth = torch.where(depth < self.max_depth, depth, 0.0)
        # one pixel in each cell of the image that is a quarter of a block wide at the greatest depth
        size = max(1, int(0.25 * side * float(frame.intrinsics[:2].min() / depth.max())))
        farthest, places = F.max_pool2d(depth[None], min(size, *depth.shape), ceil_mode=True, return_indices=True)
        places = places[farthest > 0]
        rows, columns = places // depth.shape[1], places % depth.shape[1]
        local = camera_directions(rows, columns, frame.intrinsics)
        found = []
        for step in torch.linspace(-reach, reach, 1 + math.ceil(4 * reach / side)):  # half a block or less
            points = local * (depth[rows, columns] + step)[:, None] @ frame.pose[:3, :3].T + frame.pose[:3, 3]
            found.append((points / side).floor().long())
        blocks = torch.cat(found)
        low, sizes = blocks.amin(dim=0), blocks.amax(dim=0) - blocks.amin(dim=0) + 1
        x, y, z = (blocks - low).T
        single = np.unique(((x * sizes[1] + y) * sizes[2] + z).numpy())  # many times as fast as by rows
        return (np.stack(np.unravel_index(single, sizes.tolist()), axis=-1) + low.numpy()).astype(np.int32)

    def mesh(self) -> tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "faces 3"]]:
        """The surface by marching cubes: vertices in metres and faces, both empty before there is any."""
        if self._grid.hashmap().size() > 0:
            mesh = self._grid.extract_triangle_mesh(weight_threshold=0.5)
            if len(mesh.triangle) and len(mesh.triangle.indices):
                return mesh.vertex.positions.numpy(), mesh.triangle.indices.numpy().astype(np.int64)
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64)

    def sdf(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """Signed distances, metres, of the distance transform between voxels: negative where the fused frames were
        looking at the back of a surface. NaN everywhere before there is a surface.

        Raises:
            InputError: what was seen is too large for voxels of this size.
        """
        return self._distances().interpolate(points)

    def sdf_and_gradient(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """`sdf` and its central differences over two voxels, which smooth its steps."""
        steps = self.voxel_size * torch.eye(3, dtype=points.dtype)
        slopes = [(self.sdf(points + step) - self.sdf(points - step)) / (2 * self.voxel_size) for step in steps]
        return self.sdf(points), torch.stack(slopes, dim=-1)

    def exact(self) -> FusedMesh:
        """Exact distances to the mesh of what has been fused so far."""
        return FusedMesh(*self.mesh(), self._distances())

    def _distances(self) -> _Lattice:
        if self._lattice is None:
            start = time.perf_counter()
            self._lattice = _Lattice(*self._dense(), self.voxel_size)
            self.distance_seconds += time.perf_counter() - start
        return self._lattice

    def _dense(self) -> tuple[Int[np.ndarray, " 3"], Float[np.ndarray, "x y z"]]:
        """Index of the first voxel of the box around all blocks, and the TSDF in it; NaN where nothing is known."""
        if self._grid.hashmap().size() == 0:
            return np.zeros(3, np.int64), np.full((1, 1, 1), np.nan, np.float32)
        coordinates, places = self._grid.voxel_coordinates_and_flattened_indices()
        voxels = np.rint(coordinates.numpy() / self.voxel_size).astype(np.int64)
        low, high = voxels.min(axis=0), voxels.max(axis=0)
        sizes = high - low + 1
        if sizes.prod() > _MOST_VOXELS:
            box = " x ".join(f"{size * self.voxel_size:.1f}" for size in sizes)
            raise InputError(
                f"TSDF fusion: what the frames saw fills a box of {box} m, {sizes.prod():,} voxels of "
                f"{self.voxel_size:g} m and more than the {_MOST_VOXELS:,} that fit. Use larger voxels or a smaller "
                "maximum depth."
            )
        values = self._grid.attribute("tsdf").numpy().reshape(-1)[places.numpy()]
        weights = self._grid.attribute("weight").numpy().reshape(-1)[places.numpy()]
        dense = np.full(sizes, np.nan, np.float32)
        dense[tuple((voxels - low).T)] = np.where(weights > 0, values, np.nan)
        return low, dense


class FusedMesh:
    """Exact distances to a fused mesh, with the sign of the voxels around."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, lattice: _Lattice) -> None:
        self._mesh = TriangleDistance(vertices, faces) if len(faces) else None
        self._lattice = lattice

    def sdf(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """Signed distances, metres; NaN without a surface."""
        return self.sdf_and_gradient(points)[0]

    def sdf_and_gradient(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """Signed distances and their unit gradients: away from the nearest point, or to it behind surfaces."""
        if self._mesh is None:
            return torch.full_like(points[:, 0], torch.nan), torch.zeros_like(points)
        sign = torch.where(self._lattice.interpolate(points) < 0, -1.0, 1.0)
        offsets = sign[:, None] * (points - self._mesh.nearest(points))
        return sign * offsets.norm(dim=-1), F.normalize(offsets, dim=-1)


class _Lattice:
    """Signed distances at the voxels of a box.

    The surface passes between neighbouring voxels with a TSDF of 0 or more and below 0. At such a voxel it is taken for
    the plane through the changes of sign on the edges around, and every voxel is as far from the surface as from the
    foot of the perpendicular from the nearest such voxel to its plane.

    Args:
        low: index of the first voxel.
        values: TSDF, any unit; NaN where nothing is known.
        voxel_size: metres.
    """

    def __init__(self, low: np.ndarray, values: Float[np.ndarray, "x y z"], voxel_size: float) -> None:
        self._low, self._voxel_size = low, voxel_size
        self._distances = voxel_size * _transform(values)

    def interpolate(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """Trilinear between voxels; outside the box the value at its border and the distance to it."""
        from scipy.ndimage import map_coordinates

        places = points.double().numpy() / self._voxel_size - self._low
        inside = places.clip(0, np.array(self._distances.shape) - 1)
        beyond = self._voxel_size * np.linalg.norm(places - inside, axis=-1)
        values = map_coordinates(self._distances, inside.T, order=1, mode="nearest")
        return torch.from_numpy(values + beyond).to(points.dtype)


def _transform(values: Float[np.ndarray, "x y z"]) -> Float[np.ndarray, "x y z"]:
    """Signed distances in voxels; NaN without a surface."""
    from scipy.ndimage import distance_transform_edt

    inverse = _inverse_intercepts(values)
    squares = np.einsum("axyz,axyz->xyz", inverse, inverse)
    if not squares.any():
        return np.full(values.shape, np.nan, np.float32)
    nearest: Any = distance_transform_edt(squares == 0, return_distances=False, return_indices=True)
    result = np.empty(values.shape, np.float32)
    rest = np.indices(values.shape[1:], dtype=np.float32)
    for x, sites in enumerate(np.moveaxis(nearest, 1, 0)):  # by slices, to save memory
        at = tuple(sites)
        # x/a + y/b + z/c = 1 is nearest to the origin at (1/a, 1/b, 1/c) / (1/a^2 + 1/b^2 + 1/c^2)
        feet = sites + inverse[(slice(None), *at)] / squares[at]
        feet[0] -= x
        feet[1:] -= rest
        result[x] = np.sqrt(np.einsum("ayz,ayz->yz", feet, feet))
    return np.where(values < 0, -result, result)


def _inverse_intercepts(values: Float[np.ndarray, "x y z"]) -> Float[np.ndarray, "axes x y z"]:
    """One over the way, in voxels, from each voxel along each axis to the nearest change of sign on the edge to a
    neighbour; 0 without one."""
    inverse = np.zeros((3, *values.shape), np.float32)
    for axis in range(3):
        here, there = (np.moveaxis(values, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        crossing = ((here < 0) & (there >= 0)) | ((here >= 0) & (there < 0))
        share = np.abs(here[crossing]) / (np.abs(here[crossing]) + np.abs(there[crossing]))
        for part, way in ((slice(None, -1), share), (slice(1, None), share - 1.0)):
            found = 1.0 / np.where(np.abs(way) < 1e-3, np.copysign(1e-3, way), way)
            side = np.moveaxis(inverse[axis], axis, 0)[part]  # a view: what is written to it is in `inverse`
            side[crossing] = np.where(np.abs(found) > np.abs(side[crossing]), found, side[crossing])
    return inverse
