"""The box that a surface is looked for in, which need not lie along the axes of the training frame."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from eugen_fields.errors import InputError
from eugen_fields.layers.layer import in_double
from eugen_fields.meshing.common_view import common_view
from eugen_fields.meshing.options import MeshOptions
from eugen_fields.runs import Run

_SIDE_MARGIN = 1e-5
"""Tolerance, relative to the size of the scene box, within which points outside belong to it."""


@dataclass
class Region:
    """A box in a frame of its own, in which the lattice lies."""

    aabb: Tensor
    """Shape (2, 3), in that frame."""
    scene_from_region: Tensor | None = None
    """To the training frame, shape (4, 4), float64; a rotation, shift and uniform scale. None: it is that frame."""
    clip: Tensor | None = None
    """Box in the training frame, shape (2, 3), outside of which there is nothing."""
    common: Tensor | None = None
    """Where the box is that of what most cameras see: in the frame of the options, shape (2, 3), float64."""

    @property
    def scale(self) -> float:
        """Units of the training frame per unit of this frame."""
        return 1.0 if self.scene_from_region is None else float(self.scene_from_region[:3, 0].norm())

    def to_scene(self, points: Tensor) -> Tensor:
        """Points (N, 3) of this frame in the training frame."""
        if self.scene_from_region is None:
            return points
        matrix = self.scene_from_region.to(points)
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    def in_scene(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """A function of points of the training frame as one of points of this."""
        return function if self.scene_from_region is None else lambda points: function(self.to_scene(points))

    def occupied(self, near: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor] | None:
        """Whether points (N, 3) of this frame are near something, as a function of the training frame says, and within
        `clip`."""
        if self.clip is None:
            return None if near is None else self.in_scene(near)
        low, high = self.clip
        margin = _SIDE_MARGIN * float((high - low).max())

        def occupied(points: Tensor) -> Tensor:
            places = self.to_scene(points)
            inside = ((places >= low.to(places) - margin) & (places <= high.to(places) + margin)).all(dim=-1)
            return inside if near is None else inside & near(places)

        return occupied

    def occupied_within(
        self, near: Callable[[float], Callable[[Tensor], Tensor]]
    ) -> Callable[[float], Callable[[Tensor], Tensor]]:
        """Whether anything may be occupied within a radius of points (N, 3) of this frame, from such a function of the
        training frame."""
        return lambda radius: self.in_scene(near(self.scale * radius))

    def scene_bounds(self) -> Tensor:
        """The box along the axes of the training frame that holds this one, shape (2, 3)."""
        corners = self.to_scene(box_corners(self.aabb))
        return torch.stack([corners.amin(dim=0), corners.amax(dim=0)]).to(self.aabb.device, torch.float32)


def box_corners(aabb: Tensor) -> Tensor:
    """The corners of a box (2, 3), float64, shape (8, 3)."""
    return torch.stack([in_double(aabb)[list(pick), [0, 1, 2]] for pick in itertools.product((0, 1), repeat=3)])


def is_unbounded(run: Run) -> bool:
    """Whether the field of a run goes on outside its scene box."""
    return not getattr(run.field, "bounded", True)


def export_region(run: Run, options: MeshOptions) -> Region:
    """Where --box says to look, cut to the scene box where nothing lies outside of that. Without --box it is the scene
    box; of an unbounded run what most cameras see, or the scene box where its cameras are not known.

    Raises:
        InputError: the two do not meet.
    """
    if options.box is None and not is_unbounded(run):
        return Region(run.aabb)
    scene_from_frame = torch.eye(4, dtype=torch.float64)
    if options.frame == "world":
        scene_from_frame = torch.linalg.inv(run.world_from_scene)
    if options.box is None:
        common = common_view(run, torch.linalg.inv(scene_from_frame))
        return Region(run.aabb) if common is None else replace(_place(common, scene_from_frame), common=common)
    asked = torch.tensor(options.box, dtype=torch.float64).view(2, 3)
    if is_unbounded(run):
        return _place(asked, scene_from_frame)
    corners = box_corners(run.aabb)
    frame_from_scene = torch.linalg.inv(scene_from_frame)
    corners = corners @ frame_from_scene[:3, :3].T + frame_from_scene[:3, 3]
    low, high = corners.amin(dim=0), corners.amax(dim=0)
    cut = torch.stack([torch.maximum(asked[0], low), torch.minimum(asked[1], high)])
    if not bool((cut[0] < cut[1]).all()):
        spans = ", ".join(f"{a:.4g}..{b:.4g}" for a, b in zip(low.tolist(), high.tolist()))
        raise InputError(
            f"--box {' '.join(f'{value:g}' for value in options.box)} lies outside of what {run.folder} has learnt, "
            f"which spans {spans} along x, y and z of the {options.frame} frame."
        )
    return _place(cut, scene_from_frame, run.aabb)


def _place(aabb: Tensor, scene_from_frame: Tensor, clip: Tensor | None = None) -> Region:
    """A region whose own frame begins at the lower corner: world coordinates can be too large for float32."""
    scene_from_region = scene_from_frame.clone()
    scene_from_region[:3, 3] += scene_from_frame[:3, :3] @ aabb[0]
    return Region(aabb - aabb[0], scene_from_region, clip)


def apply(matrix: Tensor, vertices: np.ndarray) -> np.ndarray:
    """Points (N, 3) moved by a matrix (4, 4), float64."""
    affine = matrix.cpu().double().numpy()
    return vertices @ affine[:3, :3].T + affine[:3, 3]
