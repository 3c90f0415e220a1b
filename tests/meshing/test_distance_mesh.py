"""Surfaces of signed distances, cut to what was seen."""

import numpy as np
import torch
from torch import nn

from eugen_fields.meshing.extraction.distance import distance_mesh, distance_span
from eugen_fields.sampling import SeenCells

AABB = torch.tensor([[-1.0, -1.0, -0.5], [1.0, 1.0, 0.5]])


class Room(nn.Module):
    """A room whose walls stand 0.1 m inside the box: the solid goes on behind the sides of the box."""

    def __init__(self):
        super().__init__()
        self.register_buffer("aabb", AABB)

    def evaluate(self, points):
        return (self.aabb[1] - 0.1 - points.abs()).amin(dim=-1)

    def sdf_and_gradient(self, points):
        points = points.detach().requires_grad_()
        distance = self.evaluate(points)
        return distance, torch.autograd.grad(distance.sum(), points)[0]


def looked(where):
    """Cells with seen surface points: those of the walls where a condition on points holds."""
    seen = SeenCells(AABB, 32)
    points = torch.rand(60_000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    half = AABB[1] - 0.1
    side = points.abs().argmax(dim=-1)
    points = points * half
    points[torch.arange(len(points)), side] = (half * points.sign())[torch.arange(len(points)), side]
    seen.add(points[where(points)])
    return seen


def test_without_what_was_seen_the_box_closes_the_surface():
    vertices, faces = distance_mesh(Room(), 32, progress=False)
    assert np.abs(vertices).max(axis=0).tolist() == [1.0, 1.0, 0.5]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_walls_that_were_seen_are_kept_and_nothing_closes_them():
    seen = looked(lambda points: points[:, 0] > 0)
    vertices, faces = distance_mesh(Room(), 32, seen=seen, progress=False)
    assert len(faces) > 500 and set(np.unique(faces)) == set(range(len(vertices)))
    distance = Room().evaluate(torch.from_numpy(vertices).float()).abs()
    assert float(distance.max()) < 2e-3, "no caps at the sides of the box, no surface that was made up"
    assert vertices[:, 0].min() > -0.2 and vertices[:, 0].max() > 0.89
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normals * corners.mean(axis=1)).sum(axis=1) < 0).mean() > 0.98, "they face the room"


def test_levels_move_the_surface_into_the_room_or_leave_nothing():
    seen = looked(lambda points: points[:, 0] > -2)
    vertices, _ = distance_mesh(Room(), 32, level=0.05, seen=seen, progress=False)
    np.testing.assert_allclose(Room().evaluate(torch.from_numpy(vertices).float()), 0.05, atol=2e-3)
    for level in (50.0, -50.0):
        vertices, faces = distance_mesh(Room(), 16, level=level, seen=seen, progress=False)
        assert len(vertices) == len(faces) == 0
    vertices, faces = distance_mesh(Room(), 16, seen=SeenCells(AABB), progress=False)
    assert len(vertices) == len(faces) == 0


def test_the_span_holds_the_distances_of_the_box():
    low, high = distance_span(Room())
    assert -0.11 < low < -0.09 and 0.35 < high < 0.41
