"""How well places agree with true ones, but for a similarity: photos alone tell neither scale nor place."""

from __future__ import annotations

import numpy as np


def fit_similarity(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The matrix (4, 4) of the rotation, uniform scale and shift that takes places (N, 3) nearest to true ones (N, 3),
    by least squares (Umeyama 1991)."""
    here, there = found - found.mean(axis=0), truth - truth.mean(axis=0)
    left, sizes, right = np.linalg.svd(there.T @ here)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    matrix = np.eye(4)
    matrix[:3, :3] = (sizes * signs).sum() / (here**2).sum() * (left * signs) @ right
    matrix[:3, 3] = truth.mean(axis=0) - matrix[:3, :3] @ found.mean(axis=0)
    return matrix


def similarity_errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances (N,) of places (N, 3) from true ones after `fit_similarity`, divided by the mean distance of the true
    ones from their middle."""
    matrix = fit_similarity(found, truth)
    errors = np.linalg.norm(found @ matrix[:3, :3].T + matrix[:3, 3] - truth, axis=1)
    return errors / np.linalg.norm(truth - truth.mean(axis=0), axis=1).mean()
