"""Smooth noise in the plane: gradient noise (Perlin 1985, 2002) and sums of its octaves."""

import numpy as np

_CELLS = 256


def gradient_noise(x: np.ndarray, y: np.ndarray, seed: int, period: int = _CELLS) -> np.ndarray:
    """Noise in about [-1, 1], 0 at whole numbers; it repeats after `period` cells in x and 256 in y."""
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, size=(_CELLS, period)).astype(np.float32)
    slope_x, slope_y = np.cos(angles).ravel(), np.sin(angles).ravel()
    column, row = np.floor(x), np.floor(y)
    across, along = (x - column).astype(np.float32), (y - row).astype(np.float32)
    column, row = column.astype(np.int32), row.astype(np.int32)

    def corner(right: int, up: int) -> np.ndarray:
        lattice = (row + up) % _CELLS * period + (column + right) % period
        return slope_x[lattice] * (across - right) + slope_y[lattice] * (along - up)

    blend_x, blend_y = _fade(across), _fade(along)
    lower = corner(0, 0) * (1 - blend_x) + corner(1, 0) * blend_x
    upper = corner(0, 1) * (1 - blend_x) + corner(1, 1) * blend_x
    return 1.5 * (lower * (1 - blend_y) + upper * blend_y)


def fractal_noise(x: np.ndarray, y: np.ndarray, seed: int, octaves: int, period: int = _CELLS) -> np.ndarray:
    """Sum of octaves of gradient noise, each twice as fine and half as strong; about [-1, 1]."""
    total = np.zeros(np.broadcast_shapes(np.shape(x), np.shape(y)))
    for octave in range(octaves):
        finer = 2**octave
        total += gradient_noise(x * finer, y * finer, seed + octave, period * finer) / finer
    return total / (2 - 2.0 ** (1 - octaves))


def smoothstep(low: float, high: float, values: np.ndarray) -> np.ndarray:
    """0 up to `low`, 1 from `high` on, a cubic in between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _fade(t: np.ndarray) -> np.ndarray:
    return t * t * t * (t * (6 * t - 15) + 10)
