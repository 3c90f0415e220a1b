"""Drops the small pieces of a mesh."""

import numpy as np

from eugen_fields.meshing.finishing.topology import pieces


def keep_large_components(
    vertices: np.ndarray, faces: np.ndarray, min_share: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """The connected pieces with at least `min_share` of the triangles of the largest one (with 1: that one alone).

    Args:
        vertices: (V, 3), each used by a face.
        faces: (F, 3), F > 0.

    Returns:
        vertices and faces of what is kept, in their order, and the number of pieces that were dropped.
    """
    piece_of_vertex = pieces(len(vertices), faces)
    piece_of_face = piece_of_vertex[faces[:, 0]]
    sizes = np.bincount(piece_of_face)
    kept = sizes >= min_share * sizes.max()
    if min_share == 1:
        kept = np.arange(len(sizes)) == sizes.argmax()
    keep_vertex = kept[piece_of_vertex]
    renumbered = np.cumsum(keep_vertex) - 1
    dropped = int(((sizes > 0) & ~kept).sum())
    return vertices[keep_vertex], renumbered[faces[kept[piece_of_face]]], dropped
