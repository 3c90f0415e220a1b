"""Smoothing, decimation and closing keep the shape, and each keeps its promise."""

import numpy as np
import pytest
import torch
import trimesh
from support.distance_shapes import SHAPES

from eugen_fields.meshing import extract_mesh
from eugen_fields.meshing.extraction import refine
from eugen_fields.meshing.finishing.topology import boundary_edges, is_watertight
from eugen_fields.meshing.report import surface_facts

CUBE = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


def solid(name, resolution=48):
    return extract_mesh(
        lambda points: -SHAPES[name].distance(points), CUBE, resolution, 0.0, lipschitz=1.0, progress=False
    )


def with_hole(vertices, faces, keep):
    faces = faces[keep(vertices[faces].mean(axis=1))]
    used = np.unique(faces)
    return vertices[used], np.searchsorted(used, faces)


# Facts


@pytest.mark.parametrize("name", SHAPES)
def test_facts_are_those_of_trimesh(name):
    vertices, faces = solid(name)
    mesh, facts = trimesh.Trimesh(vertices, faces, process=False), surface_facts(vertices, faces)
    assert facts["watertight"] is True and facts["components"] == 1
    assert facts["volume"] == pytest.approx(mesh.volume)
    assert facts["area"] == pytest.approx(mesh.area)
    np.testing.assert_allclose(facts["extent"], mesh.extents)


def test_an_open_mesh_has_a_border_and_no_volume():
    vertices, faces = with_hole(*solid("sphere"), lambda centres: centres[:, 0] < 0.5)
    facts = surface_facts(vertices, faces)
    assert facts["watertight"] is False and facts["volume"] is None and facts["components"] == 1
    border = boundary_edges(faces)
    assert len(border) > 20 and (vertices[border][..., 0] > 0.4).all()


def test_a_triangle_that_faces_the_other_way_opens_a_mesh():
    faces = solid("box", 12)[1]
    assert is_watertight(faces)
    faces[3] = faces[3, ::-1]
    assert not is_watertight(faces)


def test_the_volume_of_a_hollow_is_what_it_holds():
    vertices, faces = solid("box")
    inward = surface_facts(vertices, faces[:, ::-1])
    assert inward["volume"] == pytest.approx(SHAPES["box"].volume, rel=0.01)


def test_far_from_the_origin_volumes_are_as_exact():
    vertices, faces = solid("torus")
    assert surface_facts(vertices + 1e6, faces)["volume"] == pytest.approx(surface_facts(vertices, faces)["volume"])


# Smoothing and decimation


def test_smoothing_takes_off_ripple_and_keeps_the_volume():
    vertices, faces = solid("sphere")
    noise = np.random.default_rng(0).normal(scale=0.01, size=vertices.shape)
    smoothed, same = refine.smooth(vertices + noise, faces, 10)
    np.testing.assert_array_equal(same, faces)
    before, after = (np.abs(np.linalg.norm(points, axis=1) - 0.7).mean() for points in (vertices + noise, smoothed))
    assert after < 0.6 * before
    assert surface_facts(smoothed, faces)["volume"] == pytest.approx(SHAPES["sphere"].volume, rel=0.01)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("count", [2000, 500])
def test_decimation_gives_the_number_asked_for_and_stays_closed(name, count):
    vertices, faces = refine.reduce(*solid(name), count)
    facts = surface_facts(vertices, faces)
    assert 0.98 * count <= len(faces) <= count
    assert facts["watertight"] and facts["components"] == 1
    assert len(np.unique(faces)) == len(vertices)
    assert facts["volume"] == pytest.approx(SHAPES[name].volume, rel=0.06)


def test_a_mesh_that_is_small_enough_is_left_alone():
    vertices, faces = solid("box", 12)
    same = refine.reduce(vertices, faces, len(faces))
    assert same[0] is vertices and same[1] is faces


# Closing


def test_a_closed_mesh_is_left_as_it_is():
    vertices, faces = solid("torus")
    same = refine.close(vertices, faces)
    assert same[0] is vertices and same[1] is faces


@pytest.mark.parametrize("inward", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_a_gap_is_closed_and_the_rest_stays(name, inward):
    vertices, faces = with_hole(
        *solid(name), lambda centres: np.linalg.norm(centres - [0.0, centres[:, 1].max(), 0.0], axis=1) > 0.25
    )
    closed, closed_faces = refine.close(vertices, faces[:, ::-1] if inward else faces)
    facts = surface_facts(closed, closed_faces)
    assert facts["watertight"]
    assert facts["volume"] == pytest.approx(SHAPES[name].volume, rel=0.04)
    assert (trimesh.Trimesh(closed, closed_faces, process=False).volume < 0) == inward
    there = trimesh.Trimesh(closed, closed_faces, process=False).kdtree.query(vertices)[0]
    assert there.max() < 3 * 2.0 / 48


def test_what_bulges_out_of_the_solved_cube_is_capped():
    # half a box: the missing half has nothing to hold the surface back
    vertices, faces = with_hole(*solid("box"), lambda centres: centres[:, 0] < 0.3)
    closed, closed_faces = refine.close(vertices, faces)
    assert is_watertight(closed_faces)
    assert np.abs(closed).max() < 4.0


def test_each_hole_gets_a_cap():
    vertices, faces = with_hole(*solid("sphere"), lambda centres: np.abs(centres[:, 0]) < 0.5)
    capped, capped_faces = refine.cap(vertices, faces)
    assert len(capped) == len(vertices) + 2
    facts = surface_facts(capped, capped_faces)
    slice_volume = np.pi * (0.7**2 * 1.0 - 2 * 0.5**3 / 3)
    assert facts["watertight"] and facts["volume"] == pytest.approx(slice_volume, rel=0.05)
