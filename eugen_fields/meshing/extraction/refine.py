"""What is done to a mesh after it was found: gaps closed, ripple smoothed away, triangles saved (open3d)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix, diags_array

from eugen_fields.meshing.finishing.topology import boundary_edges, pieces

_TAUBIN = (0.5, -0.53)
"""Shares of the way to the mean of the neighbours: in, and a little more out."""
_POISSON_SCALES = (1.1, 2.0)
"""Sides of the cube that is solved in, relative to the mesh; what bulges out of the first may fit into the second."""
_POISSON_DEPTHS = (5, 11)


def smooth(vertices: np.ndarray, faces: np.ndarray, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) moved to the mean of their neighbours and back out, so that ripple goes and the volume stays.

    Source: "Curve and surface smoothing without shrinkage" (Taubin, 1995). All neighbours count the same: open3d's
    filter weights them by 1 / distance, which folds the thin triangles of marching cubes.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    joined = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(vertices), len(vertices))).tocsr()
    joined.data[:] = 1.0  # an edge of two triangles counts once
    num_neighbours = np.bincount(joined.nonzero()[0], minlength=len(vertices))
    mean = diags_array(1.0 / num_neighbours.clip(min=1)) @ joined
    for _ in range(rounds):
        for share in _TAUBIN:
            vertices = vertices + share * (mean @ vertices - vertices)
    return vertices, faces


def reduce(vertices: np.ndarray, faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A mesh with at most `count` triangles where the surface allows it, edges collapsed where that moves it least.

    Source: "Surface simplification using quadric error metrics" (Garland and Heckbert, 1997).
    """
    if len(faces) <= count:
        return vertices, faces
    mesh = _open3d_mesh(vertices, faces).simplify_quadric_decimation(count)
    mesh.remove_degenerate_triangles()
    mesh.remove_unreferenced_vertices()
    return _arrays(mesh)


def close(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A watertight mesh through the vertices of an open one; one that is closed already comes back as it is.

    Source: "Screened Poisson surface reconstruction" (Kazhdan and Hoppe, 2013). What bulges out of the cube that it is
    solved in is cut off and capped there.
    """
    if len(boundary_edges(faces)) == 0:
        return vertices, faces
    import open3d

    mesh = _open3d_mesh(vertices, faces)
    mesh.compute_vertex_normals()
    cloud = open3d.geometry.PointCloud(mesh.vertices)
    cloud.normals = mesh.vertex_normals
    edge = np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1).mean()
    found = []
    for scale in _POISSON_SCALES:
        across = scale * (vertices.max(axis=0) - vertices.min(axis=0)).max() / edge
        depth = min(max(math.ceil(math.log2(across)), _POISSON_DEPTHS[0]), _POISSON_DEPTHS[1])
        solved, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(
            cloud,
            depth=depth,
            scale=scale,
            n_threads=1,  # several of them sum up in another order each time
        )
        found.append(_arrays(solved))
        if len(boundary_edges(found[-1][1])) == 0:
            return found[-1]
    return cap(*found[0])


def cap(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each hole closed by triangles around its middle."""
    border = boundary_edges(faces)
    hole_of_vertex = pieces(len(vertices), np.concatenate([border, border[:, :1]], axis=1))
    holes, hole_of_edge = np.unique(hole_of_vertex[border[:, 0]], return_inverse=True)
    middles = np.stack([vertices[border[hole_of_edge == hole, 0]].mean(axis=0) for hole in range(len(holes))])
    fans = np.stack([border[:, 1], border[:, 0], len(vertices) + hole_of_edge], axis=1)
    return np.concatenate([vertices, middles]), np.concatenate([faces, fans])


def _open3d_mesh(vertices: np.ndarray, faces: np.ndarray) -> Any:
    import open3d

    utility = open3d.utility
    return open3d.geometry.TriangleMesh(
        utility.Vector3dVector(vertices), utility.Vector3iVector(faces.astype(np.int32))
    )


def _arrays(mesh: Any) -> tuple[np.ndarray, np.ndarray]:
    """Copies of the arrays of an open3d mesh, which die with it."""
    return np.array(mesh.vertices), np.array(mesh.triangles, dtype=np.int64)
