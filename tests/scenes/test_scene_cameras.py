"""cameras.py: rigid poses on the upper hemisphere that look at the origin."""

import numpy as np
import pytest


@pytest.fixture
def cameras(load):
    return load("capture.cameras")


@pytest.fixture(params=["hemisphere", "orbit", "pole"])
def poses(request, cameras):
    return {
        "hemisphere": lambda: cameras.hemisphere(64, np.random.default_rng(0)),
        "orbit": lambda: cameras.orbit(20),
        "pole": lambda: cameras.look_at_origin(0.3, np.pi / 2)[None],
    }[request.param]()


def test_poses_are_rigid(poses):
    rotations = poses[:, :3, :3]
    assert np.allclose(rotations.transpose(0, 2, 1) @ rotations, np.eye(3))
    assert np.allclose(np.linalg.det(rotations), 1)
    assert (poses[:, 3] == [0, 0, 0, 1]).all()


def test_poses_look_at_the_origin_from_above(poses, cameras):
    origin = np.linalg.inv(poses) @ [0, 0, 0, 1]
    assert np.allclose(origin, [0, 0, -cameras.RADIUS, 1])
    assert (poses[:, 2, 3] >= 0).all()


def test_horizon_is_level_and_up_is_up(poses):
    assert np.allclose(poses[:, 2, 0], 0)
    assert (poses[:, 2, 1] > -1e-9).all()


def test_hemisphere_is_even_over_its_area(cameras):
    """On a sphere the height is uniform (Archimedes), and so is the azimuth."""
    positions = cameras.hemisphere(4000, np.random.default_rng(1))[:, :3, 3] / cameras.RADIUS
    assert np.abs(np.histogram(positions[:, 2], bins=4, range=(0, 1))[0] / 4000 - 0.25).max() < 0.03
    assert np.abs(positions[:, :2].mean(axis=0)).max() < 0.05


def test_hemisphere_is_seeded(cameras):
    first, again, other = (cameras.hemisphere(5, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (first == again).all() and not np.allclose(first, other)


def test_no_views_is_an_empty_stack(cameras):
    assert cameras.orbit(0).shape == cameras.hemisphere(0, np.random.default_rng(0)).shape == (0, 4, 4)
