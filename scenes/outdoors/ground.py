"""A ground to stand things on: paving about the origin, meadow from there to the horizon, detail at every scale."""

import numpy as np
from outdoors.noise import fractal_noise, gradient_noise, smoothstep
from shapes.wavefront import Part

RADIUS = 50.0
"""How far the ground reaches."""
PAVED = 6.0
"""About how far the paving reaches; the edge is ragged."""
TILE = 0.5
"""Side of a paving stone: the joints lie at the multiples of it in x and y."""
GRASS = np.array([0.12, 0.17, 0.05])
"""Mean reflectance of the meadow, linear RGB."""

_INNERMOST = 0.02
_STONES = np.array([[0.48, 0.41, 0.32], [0.40, 0.37, 0.34], [0.55, 0.47, 0.35], [0.26, 0.27, 0.30]])
_JOINT = np.array([0.10, 0.09, 0.07])
_EARTH = np.array([0.27, 0.19, 0.12])


def ground(sectors: int = 1536) -> tuple[Part, np.ndarray]:
    """The disc z = 0 and its reflectance (rows, sectors, 3), linear RGB.

    The picture is in polar coordinates, its rows in equal steps of log(radius): so a texel is square, and its side is
    2 pi / sectors of its distance from the middle, fine where cameras come near and coarse where they never do.
    """
    rows = int(np.ceil(sectors * np.log(RADIUS / _INNERMOST) / (2 * np.pi)))
    radius = _INNERMOST * (RADIUS / _INNERMOST) ** (np.arange(rows) / (rows - 1))
    azimuth = 2 * np.pi * (np.arange(sectors) + 0.5) / sectors
    picture = reflectance(
        radius[:, None] * np.cos(azimuth), radius[:, None] * np.sin(azimuth), 2 * np.pi * radius[:, None] / sectors
    )
    return _disc(radius, rows), picture.astype(np.float32)


def reflectance(x: np.ndarray, y: np.ndarray, texel: np.ndarray) -> np.ndarray:
    """(rows, columns, 3) linear RGB at points of the ground, `x` and `y` (rows, columns).

    What is finer than twice `texel` (rows, 1), the size of what is to be coloured, is left out.
    """
    ragged = np.hypot(x, y) + 0.9 * fractal_noise(x / 2, y / 2, 11, 4)
    meadow = smoothstep(PAVED - 0.15, PAVED + 0.15, ragged)[..., None]
    grain = _detail(x, y, texel, wavelength=0.5, octaves=5, seed=20)[..., None]
    colour = np.zeros((*meadow.shape[:-1], 3))
    for share, surface, roughness in ((1 - meadow, _paving, 0.35), (meadow, _meadow, 0.6)):
        rows = share.any(axis=(-1, -2))  # of a picture of the ground most rows show one or the other
        colour[rows] += share[rows] * surface(x[rows], y[rows], texel[rows]) * (1 + roughness * grain[rows])
    return np.clip(colour, 0.01, 0.9)


def _paving(x: np.ndarray, y: np.ndarray, texel: np.ndarray) -> np.ndarray:
    column, row = np.floor(x / TILE).astype(int), np.floor(y / TILE).astype(int)
    generator = np.random.default_rng(7)
    kind, tint = generator.integers(0, len(_STONES), (64, 64)), generator.uniform(0.75, 1.25, (64, 64, 1))
    stone = (_STONES[kind[:, :, None]] * tint[..., None])[row % 64, column % 64, 0]
    to_joint = TILE / 2 - np.maximum(np.abs(x / TILE - column - 0.5), np.abs(y / TILE - row - 0.5)) * TILE
    joint = (1 - smoothstep(0.0, 1.0, (to_joint - 0.012) / (texel + 0.012)))[..., None]
    clouded = fractal_noise(x / 3, y / 3, 12, 3)[..., None]
    return (stone * (1 - joint) + _JOINT * joint) * (1 + 0.25 * clouded)


def _meadow(x: np.ndarray, y: np.ndarray, texel: np.ndarray) -> np.ndarray:
    broad = fractal_noise(x / 9, y / 9, 13, 3)
    bare = smoothstep(0.15, 0.4, broad + 0.5 * _detail(x, y, texel, wavelength=2.0, octaves=4, seed=40))[..., None]
    dry = fractal_noise(x / 4 + 50, y / 4, 14, 3)[..., None]
    grass = GRASS * (1 + 0.5 * dry * np.array([1.4, 0.8, 0.4]))
    return grass * (1 - bare) + _EARTH * bare


def _detail(x: np.ndarray, y: np.ndarray, texel: np.ndarray, wavelength: float, octaves: int, seed: int) -> np.ndarray:
    """Equally strong octaves of noise from `wavelength` down, each fading out where it comes near two texels."""
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    for octave in range(octaves):
        wave = wavelength / 2**octave
        strength = np.broadcast_to(1 - smoothstep(0.25, 0.5, texel / wave), total.shape)
        rows = strength.any(axis=-1)  # a texture's far rows show nothing of it: do not compute them
        total[rows] += strength[rows] * gradient_noise(x[rows] / wave, y[rows] / wave, seed + octave)
    return total / np.sqrt(octaves)


def _disc(radius: np.ndarray, rows: int, sectors: int = 256) -> Part:
    """Rings of triangles at every eighth of the radii, each vertex at the middle of its texel's row, z up."""
    chosen = np.unique(np.append(np.arange(0, rows, 8), rows - 1))
    turn = np.arange(sectors + 1) / sectors  # the seam is there twice, with u = 0 and 1
    distance = np.append(0.0, radius[chosen][1:])[:, None]  # the first ring is drawn together to a point
    positions = np.stack(
        [distance * np.cos(2 * np.pi * turn), distance * np.sin(2 * np.pi * turn), 0 * distance * turn], axis=-1
    )
    height = 1 - (chosen + 0.5) / rows
    coordinates = np.stack(np.broadcast_arrays(turn[None], height[:, None]), axis=-1)
    corner = np.arange(len(chosen) * (sectors + 1)).reshape(len(chosen), sectors + 1)
    inner, outer = corner[:-1], corner[1:]
    triangles = np.stack(
        [inner[:, :-1], outer[:, :-1], outer[:, 1:], inner[:, :-1], outer[:, 1:], inner[:, 1:]], axis=-1
    )
    return Part(
        positions=positions.reshape(-1, 3),
        normals=np.broadcast_to([0.0, 0.0, 1.0], positions.shape).reshape(-1, 3),
        texture_coordinates=coordinates.reshape(-1, 2),
        triangles=triangles.reshape(-1, 3),
    )
