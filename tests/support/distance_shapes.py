"""Solids whose signed distance, volume and shape are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Solid:
    """A solid inside [-1, 1]^3."""

    distance: Callable[[Tensor], Tensor]
    """Points (N, 3) to signed distances (N,), negative inside."""
    volume: float
    euler_number: int


def sphere_distance(points: Tensor, radius: float = 0.7) -> Tensor:
    return points.norm(dim=-1) - radius


def torus_distance(points: Tensor, major: float = 0.6, minor: float = 0.25) -> Tensor:
    return torch.hypot(points[..., :2].norm(dim=-1) - major, points[..., 2]) - minor


def cuboid_distance(points: Tensor, sides: tuple[float, float, float] = (0.7, 0.45, 0.56)) -> Tensor:
    beyond = points.abs() - torch.tensor(sides, dtype=points.dtype)
    return beyond.clamp(min=0.0).norm(dim=-1) + beyond.amax(dim=-1).clamp(max=0.0)


SHAPES = {
    "sphere": Solid(sphere_distance, 4 / 3 * math.pi * 0.7**3, 2),
    "torus": Solid(torus_distance, 2 * math.pi**2 * 0.6 * 0.25**2, 0),
    "box": Solid(cuboid_distance, 8 * 0.7 * 0.45 * 0.56, 2),
}
