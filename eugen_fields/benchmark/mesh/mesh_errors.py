"""How far a reconstructed mesh is from the truth: accuracy, completion and Chamfer distance."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eugen_fields.benchmark.distance.distance_truth import DistanceTruth, TriangleDistance
from eugen_fields.benchmark.distance.visibility import first_seen
from eugen_fields.data.depth.depth_streams import DepthStream

CLOSE = 0.05
"""Metres below which a point counts as reconstructed."""


def mesh_errors(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    truth: DistanceTruth,
    stream: DepthStream,
    *,
    num_samples: int = 100_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Distances between a mesh and the true one, over the region that the stream saw.

    Points drawn evenly over the mesh are kept where a frame sees them (visibility.first_seen): before, or up to 10 cm
    behind, a measured depth. What floats in seen space thus counts, and what was made up in rooms or behind walls that
    no camera looked at does not, but is told apart.

    Returns:
        accuracy_cm: mean distance of the seen points of the mesh to the true mesh;
        completion_cm: mean distance of the points on seen true surfaces to the whole mesh;
        chamfer_cm: the mean of the two;
        accurate_share, complete_share: shares of the two sets of points nearer than CLOSE;
        unseen_share: share of the mesh's area that no frame saw;
        unseen_accuracy_cm: as accuracy_cm, of that part.
        Means over nothing are NaN: all but unseen_share without faces.
    """
    samples = sample_mesh(vertices, faces, num_samples, seed)
    seen = first_seen(stream, samples) < len(stream)
    to_truth = truth.mesh.distance(samples).double()
    surface = truth.points[truth.on_surface]
    to_mesh = TriangleDistance(vertices, faces).distance(surface).double() if len(samples) else torch.empty(0).double()
    accuracy, completion = 100 * float(to_truth[seen].mean()), 100 * float(to_mesh.mean())
    return {
        "accuracy_cm": accuracy,
        "completion_cm": completion,
        "chamfer_cm": 0.5 * (accuracy + completion),
        "accurate_share": float((to_truth[seen] < CLOSE).double().mean()),
        "complete_share": float((to_mesh < CLOSE).double().mean()),
        "unseen_share": float((~seen).double().mean()) if len(samples) else 0.0,
        "unseen_accuracy_cm": 100 * float(to_truth[~seen].mean()),
    }


def sample_mesh(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], count: int, seed: int
) -> Float[Tensor, "count 3"]:
    """Points evenly distributed over the area of a mesh; none where it has no area."""
    corners = np.asarray(vertices, dtype=np.float64)[np.asarray(faces, dtype=np.int64).reshape(-1, 3)]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.cumsum(np.linalg.norm(np.cross(first, second), axis=-1))
    if len(area) == 0 or area[-1] == 0:
        return torch.empty(0, 3)
    random = np.random.default_rng(seed)
    # one sample in each of equally large parts of the area: less noise than independent ones
    triangle = np.searchsorted(area, (np.arange(count) + random.random(count)) * area[-1] / count, side="right")
    triangle = triangle.clip(max=len(area) - 1)
    u, v = random.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return torch.from_numpy((corners[triangle, 0] + u * first[triangle] + v * second[triangle]).astype(np.float32))
