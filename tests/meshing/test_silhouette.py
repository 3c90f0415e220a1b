"""Silhouettes and renders of meshes against what geometry says."""

import math

import numpy as np
import pytest
import trimesh

from eugen_fields.meshing.finishing.silhouette import camera_rays, iou, render_mesh, silhouette

CAMERA = (120.0, 120.0, 50.0, 40.0, 100, 80)  # fx, fy, cx, cy, width, height


def camera_at(position):
    """Looks from a place on the z axis down -z."""
    pose = np.eye(4)
    pose[:3, 3] = position
    return pose


def test_rays_go_through_the_pixel_centres_in_the_opengl_convention():
    origins, directions = camera_rays(camera_at((1.0, 2.0, 3.0))[:3], *CAMERA)
    assert origins.shape == directions.shape == (8000, 3)
    assert (origins == (1.0, 2.0, 3.0)).all()
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0)
    image = directions.reshape(80, 100, 3)
    assert image[0, 0, 0] < 0 < image[0, 0, 1]  # the first pixel is at the upper left
    assert image[40, 50, 2] == pytest.approx(-1.0, abs=1e-4)


def test_a_sphere_covers_the_disc_that_perspective_gives_it():
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    mask = silhouette(sphere, camera_at((0.0, 0.0, 3.0)), *CAMERA)
    radius = 120.0 * math.tan(math.asin(0.5 / 3.0))
    assert mask.shape == (80, 100)
    assert mask.sum() == pytest.approx(math.pi * radius**2, rel=0.02)
    rows, columns = mask.nonzero()
    assert columns.mean() + 0.5 == pytest.approx(50.0, abs=0.1) and rows.mean() + 0.5 == pytest.approx(40.0, abs=0.1)


def test_a_camera_that_looks_away_sees_nothing():
    sphere = trimesh.creation.icosphere(radius=0.5)
    assert not silhouette(sphere, camera_at((0.0, 0.0, -3.0)), *CAMERA).any()


def test_iou_of_equal_disjoint_and_nested_masks():
    mask = np.zeros((4, 4), dtype=bool)
    mask[:2] = True
    assert iou(mask, mask) == 1.0
    assert iou(mask, ~mask) == 0.0
    assert iou(mask, np.ones_like(mask)) == 0.5
    assert iou(np.zeros_like(mask), np.zeros_like(mask)) == 1.0


def test_a_render_shows_the_vertex_colours_of_the_near_side_on_white():
    box = trimesh.creation.box()
    box.visual.vertex_colors = np.where(box.vertices[:, 2:] > 0, [[255, 0, 0]], [[0, 0, 255]]).astype(np.uint8)
    image = render_mesh(box, camera_at((0.0, 0.0, 3.0)), *CAMERA)
    assert image.shape == (80, 100, 3) and image.dtype == np.uint8
    assert image[40, 50].tolist() == [255, 0, 0]
    assert image[0, 0].tolist() == [255, 255, 255]
    shaded = render_mesh(box, camera_at((0.0, 0.0, 3.0)), *CAMERA, shade=True)
    assert (shaded[40, 50] == shaded[40, 50, 0]).all() and shaded[40, 50, 0] > 200


def test_colours_blend_across_a_triangle():
    mesh = trimesh.Trimesh([[-1, -1, 0], [1, -1, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
    mesh.visual.vertex_colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)
    image = render_mesh(mesh, camera_at((0.0, 0.0, 3.0)), *CAMERA)
    center = image[int(40 + 120 / 9), 50]  # the centroid (0, -1/3, 0)
    np.testing.assert_allclose(center, 85, atol=4)
