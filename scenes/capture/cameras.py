"""Where the cameras of a scene stand: on the upper hemisphere about the origin, or roaming round an object; z up."""

import numpy as np

RADIUS = 4.0311
"""Distance of every camera from the origin: that of the NeRF synthetic scenes."""
ORBIT_ELEVATION = np.pi / 6
"""Elevation of the test orbit, radians."""
ROAMING_RADII = (2.2, 5.0)
"""Nearest and farthest that roaming cameras are from the middle of the object."""
ROAMING_ELEVATIONS = (np.radians(3), np.radians(34))
"""Lowest and highest of roaming cameras, seen from the middle of the object."""


def look_at_origin(azimuth: float, elevation: float, radius: float = RADIUS) -> np.ndarray:
    """(4, 4) camera-to-world of a camera at these angles (radians), OpenGL axes: x right, y up, looking down -z."""
    cos_azimuth, sin_azimuth = np.cos(azimuth), np.sin(azimuth)
    cos_elevation, sin_elevation = np.cos(elevation), np.sin(elevation)
    right = np.array([-sin_azimuth, cos_azimuth, 0.0])
    up = np.array([-sin_elevation * cos_azimuth, -sin_elevation * sin_azimuth, cos_elevation])
    back = np.array([cos_elevation * cos_azimuth, cos_elevation * sin_azimuth, sin_elevation])
    pose = np.eye(4)
    pose[:3] = np.stack([right, up, back, radius * back], axis=1)
    return pose


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(4, 4) camera-to-world at `position` with `target`, which is not right above or below, in the middle; OpenGL."""
    back = (position - target) / np.linalg.norm(position - target)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, position], axis=1)
    return pose


def hemisphere(count: int, generator: np.random.Generator) -> np.ndarray:
    """(count, 4, 4) poses drawn evenly over the area of the upper hemisphere."""
    azimuth, height = generator.uniform(size=(count, 2)).T
    return np.array([look_at_origin(2 * np.pi * a, np.arcsin(h)) for a, h in zip(azimuth, height)]).reshape(-1, 4, 4)


def orbit(count: int) -> np.ndarray:
    """(count, 4, 4) poses evenly round a circle at ORBIT_ELEVATION."""
    turns = np.arange(count) / max(count, 1)
    return np.array([look_at_origin(2 * np.pi * turn, ORBIT_ELEVATION) for turn in turns]).reshape(-1, 4, 4)


def roaming(count: int, generator: np.random.Generator, middle: np.ndarray, stray: float = 0.3) -> np.ndarray:
    """(count, 4, 4) poses round `middle` at varied distances and heights, looking up to `stray` past it on each axis.

    Azimuth, elevation and distance are a Kronecker sequence from a drawn start, which leaves no side out however few
    the cameras are (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences", three dimensions).
    """
    steps = 1.2207440846 ** -np.arange(1.0, 4.0)
    azimuth, elevation, radius = ((generator.uniform(size=3) + np.arange(count)[:, None] * steps) % 1).T
    azimuth, elevation = 2 * np.pi * azimuth, np.interp(elevation, [0, 1], ROAMING_ELEVATIONS)
    flat = np.cos(elevation)
    towards = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=-1)
    positions = middle + np.interp(radius, [0, 1], ROAMING_RADII)[:, None] * towards
    targets = middle + generator.uniform(-stray, stray, size=(count, 3))
    return np.array([look_at(*pair) for pair in zip(positions, targets)]).reshape(-1, 4, 4)
