"""noise.py, ground.py and surroundings.py: smooth, seamless, and with something to see at every scale."""

import numpy as np
import pytest


@pytest.fixture
def noise(load):
    return load("outdoors.noise")


@pytest.fixture
def ground(load):
    return load("outdoors.ground")


@pytest.fixture(scope="module")
def landscape(load):
    return load("outdoors.surroundings").landscape(256)


def test_noise_is_bounded_seeded_and_zero_on_the_lattice(noise):
    x, y = np.random.default_rng(0).uniform(-50, 50, (2, 5000))
    values = noise.gradient_noise(x, y, 3)
    assert np.abs(values).max() < 1.3 and np.abs(values.mean()) < 0.05 and values.std() > 0.2
    assert (values == noise.gradient_noise(x, y, 3)).all() and not np.allclose(values, noise.gradient_noise(x, y, 4))
    assert np.abs(noise.gradient_noise(np.floor(x), np.floor(y), 3)).max() < 1e-6


def test_noise_is_smooth_and_periodic(noise):
    x, y = np.random.default_rng(0).uniform(-8, 8, (2, 5000))
    assert np.abs(noise.gradient_noise(x + 1e-3, y, 3) - noise.gradient_noise(x, y, 3)).max() < 1e-2
    for octaves in (1, 4):
        here, there = (noise.fractal_noise(x + shift, y, 3, octaves, period=5) for shift in (0, 5))
        assert np.abs(here - there).max() < 1e-4


def test_smoothstep(noise):
    assert noise.smoothstep(1, 3, np.array([0.0, 1, 2, 3, 4])).tolist() == [0, 0, 0.5, 1, 1]


def test_disc_is_flat_whole_and_faces_up(ground):
    disc, picture = ground.ground(sectors=64)
    corners = disc.positions[disc.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (disc.positions[:, 2] == 0).all() and (normals[:, 2] >= 0).all()
    assert normals[:, 2].sum() / 2 == pytest.approx(np.pi * ground.RADIUS**2, rel=1e-3)
    assert (disc.texture_coordinates > 0).any() and np.ptp(disc.texture_coordinates[:, 0]) == 1
    assert picture.min() > 0 and picture.max() < 1


def test_texture_coordinates_lead_to_the_reflectance_of_the_point(ground):
    disc, picture = ground.ground(sectors=256)
    chosen = np.random.default_rng(0).permutation(len(disc.positions))[:400]
    chosen = chosen[np.linalg.norm(disc.positions[chosen], axis=1) > 0.1]
    x, y, _ = disc.positions[chosen].T
    rows, sectors, _ = picture.shape
    u, v = disc.texture_coordinates[chosen].T
    row, column = (1 - v) * rows - 0.5, u * sectors - 0.5
    assert np.abs(row - np.rint(row)).max() < 1e-6  # vertices are in the middle of rows
    beside = np.floor(column).astype(int)
    texels = picture[np.rint(row).astype(int)[:, None], np.stack([beside, beside + 1], axis=-1) % sectors].mean(axis=1)
    expected = ground.reflectance(x[:, None], y[:, None], 2 * np.pi * np.hypot(x, y)[:, None] / sectors)[:, 0]
    assert np.corrcoef(texels.ravel(), expected.ravel())[0, 1] > 0.95


def test_paving_has_joints_and_meadow_has_none(ground):
    across = np.linspace(-2, 2, 801)[:, None]
    middle, texel = np.full_like(across, ground.TILE / 2), np.full_like(across, 0.005)
    line = ground.reflectance(across, middle, texel).mean(axis=(1, 2))
    joints = np.isclose(across[:, 0] / ground.TILE, np.rint(across[:, 0] / ground.TILE), atol=1e-6)
    assert line[joints].max() < 0.6 * np.median(line)
    red, green, blue = ground.reflectance(across + 30, middle, texel).mean(axis=(0, 1))
    assert green > 1.5 * blue and red > blue


@pytest.mark.parametrize("distance, size", [(1.5, 0.01), (4.0, 0.03), (20.0, 0.3), (40.0, 1.0)])
def test_ground_has_detail_near_and_far(ground, distance, size):
    """Neighbours differ at the size that a pixel has at that distance."""
    x, y = np.meshgrid(distance + size * np.arange(40), size * np.arange(40))
    patch = ground.reflectance(x, y, np.full((40, 1), 2 * np.pi * distance / 1536)).mean(axis=-1)
    assert np.abs(np.diff(patch, axis=1)).mean() > 0.01 * patch.mean()


def test_what_is_finer_than_a_texel_is_left_out(ground):
    x, y = np.meshgrid(1 + 0.002 * np.arange(100), 1.1 + 0.002 * np.arange(100))
    fine, coarse = (np.diff(ground.reflectance(x, y, np.full((100, 1), t)), axis=0).std() for t in (0.002, 0.5))
    assert coarse < 0.5 * fine


def test_landscape_is_a_seamless_panorama_of_light(landscape):
    assert landscape.shape == (256, 512, 3) and landscape.dtype == np.float32
    assert np.isfinite(landscape).all() and landscape.min() > 0
    seam, beside = (np.abs(landscape[:, a] - landscape[:, b]).mean() for a, b in ((0, -1), (1, 0)))
    assert seam < 3 * beside + 0.01


def test_landscape_has_structure_all_round(landscape):
    """In every eighth of the horizon, and in the sky, there is much more than a smooth gradient."""
    for bounds in ((96, 128), (60, 96)):
        for part in np.array_split(landscape[slice(*bounds)].clip(0, 1).mean(axis=-1), 8, axis=1):
            detail = part[1:-1, 1:-1] - (part[2:, 1:-1] + part[:-2, 1:-1] + part[1:-1, 2:] + part[1:-1, :-2]) / 4
            assert part.std() > 0.05 and np.abs(detail).mean() > 0.002


def test_the_sun_is_where_it_is_said_to_be(landscape, load):
    row, column = np.unravel_index(landscape.sum(axis=-1).argmax(), landscape.shape[:2])
    azimuth, elevation = load("outdoors.surroundings").SUN
    assert np.pi * (0.5 - (row + 0.5) / 256) == pytest.approx(elevation, abs=0.02)
    assert 2 * np.pi * (column + 0.5) / 512 == pytest.approx(azimuth, abs=0.02)
