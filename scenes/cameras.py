"""Where the cameras of a scene stand: on the upper hemisphere, looking at the origin, z up."""

import numpy as np

RADIUS = 4.0311
"""Distance of every camera from the origin: that of the NeRF synthetic scenes."""
ORBIT_ELEVATION = np.pi / 6
"""Elevation of the test orbit, radians."""


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


def hemisphere(count: int, generator: np.random.Generator) -> np.ndarray:
    """(count, 4, 4) poses drawn evenly over the area of the upper hemisphere."""
    azimuth, height = generator.uniform(size=(count, 2)).T
    return np.array([look_at_origin(2 * np.pi * a, np.arcsin(h)) for a, h in zip(azimuth, height)]).reshape(-1, 4, 4)


def orbit(count: int) -> np.ndarray:
    """(count, 4, 4) poses evenly round a circle at ORBIT_ELEVATION."""
    turns = np.arange(count) / max(count, 1)
    return np.array([look_at_origin(2 * np.pi * turn, ORBIT_ELEVATION) for turn in turns]).reshape(-1, 4, 4)
