"""How the triangles of a mesh hang together."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def pieces(num_vertices: int, faces: np.ndarray) -> np.ndarray:
    """Number (V,) of the connected piece that each vertex belongs to, by faces (F, 3)."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges), dtype=bool), tuple(edges.T)), shape=(num_vertices, num_vertices))
    return connected_components(graph, directed=False)[1]


def is_watertight(faces: np.ndarray) -> bool:
    """Whether every edge of the faces (F, 3) is run along once in each direction."""
    edges, back = _edge_keys(faces)
    return len(np.unique(edges)) == len(edges) and len(boundary_edges(faces)) == 0


def boundary_edges(faces: np.ndarray) -> np.ndarray:
    """The directed edges (E, 2) of faces (F, 3) that no triangle runs along the other way."""
    edges, back = _edge_keys(faces)
    lone = np.flatnonzero(np.isin(edges, back, invert=True))
    return np.stack([faces[lone // 3, lone % 3], faces[lone // 3, (lone + 1) % 3]], axis=1)


def _edge_keys(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number for each directed edge, (3 F,), and that of its way back."""
    start, end = faces.reshape(-1).astype(np.int64), np.roll(faces, -1, axis=1).reshape(-1).astype(np.int64)
    count = int(faces.max()) + 1
    return start * count + end, end * count + start
