"""A made-up landscape at infinity, as a panorama that both lights a scene and is seen behind it."""

import numpy as np
from outdoors.ground import GRASS
from outdoors.noise import fractal_noise, gradient_noise, smoothstep

SUN = np.radians([50.0, 40.0])
"""Azimuth and elevation of the sun."""

_HAZE = np.array([0.66, 0.74, 0.84])
_TOWERS = (
    # azimuth, half width, eaves, apex (degrees); colour; colour of its bands; bands a degree
    (25.0, 1.3, 9.5, 11.5, (0.75, 0.72, 0.68), (0.62, 0.08, 0.06), 0.5),
    (78.0, 2.6, 4.5, 7.0, (0.62, 0.50, 0.34), (0.30, 0.22, 0.16), 0.35),
    (131.0, 0.8, 8.0, 14.0, (0.20, 0.27, 0.38), (0.45, 0.55, 0.65), 1.0),
    (180.0, 3.4, 5.5, 5.6, (0.70, 0.65, 0.30), (0.16, 0.18, 0.24), 0.8),
    (228.0, 1.5, 6.0, 12.0, (0.55, 0.53, 0.50), (0.38, 0.12, 0.08), 0.25),
    (287.0, 1.0, 11.0, 11.1, (0.80, 0.80, 0.78), (0.12, 0.30, 0.50), 0.4),
    (332.0, 2.2, 4.0, 8.5, (0.46, 0.20, 0.14), (0.60, 0.56, 0.48), 0.6),
)


def landscape(height: int = 1024) -> np.ndarray:
    """(height, 2 height, 3) linear radiance, the zenith on top: clouds, mountains, woods, towers, meadow, a low sun."""
    elevation = np.pi * (0.5 - (np.arange(height) + 0.5) / height)[:, None]
    azimuth = 2 * np.pi * ((np.arange(2 * height) + 0.5) / (2 * height))[None]
    azimuth, elevation = np.broadcast_arrays(azimuth, elevation)
    picture = np.empty((height, 2 * height, 3))
    above = np.sin(elevation[:, 0]) > 0
    picture[above] = _sky(azimuth[above], elevation[above])
    picture[~above] = GRASS
    low = np.abs(elevation[:, 0]) < np.radians(25)
    picture[low] = _land(picture[low], azimuth[low], elevation[low], texel=np.pi / height)
    return picture.astype(np.float32)


def _sky(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Blue, with fractal clouds on a plane overhead, lit from the side of the sun, and the sun."""
    flat, up = np.cos(elevation), np.sin(elevation)
    x, y = 1.3 * flat * np.cos(azimuth) / (up + 0.12), 1.3 * flat * np.sin(azimuth) / (up + 0.12)
    cover = fractal_noise(x, y, 1, 5)
    towards_sun = fractal_noise(x + 0.12 * np.cos(SUN[0]), y + 0.12 * np.sin(SUN[0]), 1, 5)
    cloud = (smoothstep(0.0, 0.25, cover) * smoothstep(0.02, 0.2, up))[..., None]
    lit = np.clip(0.75 + 1.2 * (cover - towards_sun) - 0.5 * np.maximum(cover, 0), 0.25, 1.3)[..., None]
    blue = _HAZE + (np.array([0.12, 0.26, 0.62]) - _HAZE) * (np.clip(up, 0, 1) ** 0.5)[..., None]
    sky = blue * (1 - cloud) + np.array([1.05, 1.0, 0.95]) * lit * cloud
    cosine = np.sin(SUN[1]) * up + np.cos(SUN[1]) * flat * np.cos(azimuth - SUN[0])
    glare = 180 * np.exp(400 * (cosine - 1)) + 0.4 * np.exp(12 * (cosine - 1))
    return sky + glare[..., None] * np.array([1.0, 0.93, 0.80])


def _land(picture: np.ndarray, azimuth: np.ndarray, elevation: np.ndarray, texel: float) -> np.ndarray:
    """The picture with what stands at the horizon laid over it, the farthest first."""
    turn, degrees, texel = azimuth / (2 * np.pi), np.degrees(elevation), float(np.degrees(texel))

    def below(ridge: np.ndarray) -> np.ndarray:
        return np.clip((ridge - degrees) / texel + 0.5, 0, 1)[..., None]

    def ridge(cells: int, base: float, swing: float, seed: int, octaves: int) -> np.ndarray:
        return base + swing * fractal_noise(turn[:1] * cells, 0 * turn[:1] + 0.37, seed, octaves, period=cells)

    def texture(cells: int, stretch: float, seed: int, octaves: int) -> np.ndarray:
        return fractal_noise(turn * cells, degrees * stretch, seed, octaves, period=cells)[..., None]

    mountains = ridge(14, 7.5, 9.0, 60, 6)
    rock = np.array([0.30, 0.34, 0.44]) * (1 + 0.8 * texture(60, 0.3, 61, 4))
    snow = smoothstep(-0.6, 0.6, degrees - 8.0 + 4.0 * texture(90, 0.4, 62, 3)[..., 0])[..., None]
    picture = _over(picture, rock * (1 - snow) + np.array([0.85, 0.88, 0.95]) * snow, below(mountains))
    trees = ridge(18, 3.6, 3.5, 63, 4) + 0.5 * gradient_noise(turn[:1] * 500, 0 * turn[:1] + 0.5, 64, 500)
    leaves = np.array([0.10, 0.16, 0.08]) * (1 + 1.2 * texture(180, 0.9, 65, 3))
    picture = _over(picture, np.clip(0.85 * leaves + 0.15 * _HAZE, 0, 1), below(trees))
    for number, (where, half, eaves, apex, colour, band, bands) in enumerate(_TOWERS):
        aside = np.abs((np.degrees(azimuth) - where + 180) % 360 - 180)
        roof = (apex - degrees) / (apex - eaves) * half * 1.2
        inside = np.where(degrees < eaves, half, roof) - aside
        banded = ((degrees * bands) % 1 < 0.5)[..., None]
        wall = np.where(banded, np.array(colour), np.array(band)) * (1 + 0.25 * texture(360, 1.0, 70 + number, 2))
        picture = _over(picture, np.where((degrees > eaves)[..., None], np.array(band), wall), below(degrees + inside))
    meadow = GRASS * (1 + 0.6 * texture(120, 1.5, 66, 4) + 0.3 * texture(16, 0.1, 67, 2)) + 0.02 * _HAZE
    return _over(picture, meadow, below(ridge(10, 0.8, 1.6, 68, 3)))


def _over(picture: np.ndarray, colour: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    return picture * (1 - coverage) + colour * coverage
