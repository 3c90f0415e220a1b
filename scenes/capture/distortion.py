"""The OPENCV camera of nerfstudio and COLMAP: radial (k1, k2) and tangential (p1, p2) distortion.

Mitsuba's cameras are pinholes. So a view is rendered wider, `FINENESS` times finer and undistorted, and every pixel of
the distorted image is then the mean of what the fine pixels show that it covers, in linear light, each by the area they
share. There a fine pixel counts as an upright rectangle of one colour: with a lens that bends the corners of the image
by a tenth, a pixel sits on average 0.003 and at most 0.01 pixels from where it should, with edges blurred by a quarter
of a pixel.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from console import SceneError

FINENESS = 4
"""Fine pixels along each side of a pixel."""


@dataclass(frozen=True)
class Lens:
    """Brown-Conrady distortion of points (x, y) at depth 1, x right, y down, with OpenCV's coefficients."""

    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0

    def distort(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) points at depth 1 of a pinhole -> (..., 2) where the lens shows them."""
        x, y = points[..., 0], points[..., 1]
        square = x * x + y * y
        radial = 1 + square * (self.k1 + square * self.k2)
        return np.stack(
            [
                x * radial + 2 * self.p1 * x * y + self.p2 * (square + 2 * x * x),
                y * radial + self.p1 * (square + 2 * y * y) + 2 * self.p2 * x * y,
            ],
            axis=-1,
        )

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        """(..., 2, 2) derivative of `distort`; it is symmetric."""
        x, y = points[..., 0], points[..., 1]
        square = x * x + y * y
        radial, slope = 1 + square * (self.k1 + square * self.k2), 2 * (self.k1 + 2 * square * self.k2)
        mixed = slope * x * y + 2 * self.p1 * x + 2 * self.p2 * y
        along_x = radial + slope * x * x + 2 * self.p1 * y + 6 * self.p2 * x
        along_y = radial + slope * y * y + 6 * self.p1 * y + 2 * self.p2 * x
        return np.stack([np.stack([along_x, mixed], axis=-1), np.stack([mixed, along_y], axis=-1)], axis=-2)

    def undistort(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `distort`, by Newton's method from the distorted points."""
        found = np.array(points, dtype=float)
        for _ in range(20):
            step = np.linalg.solve(self.jacobian(found), (self.distort(found) - points)[..., None])[..., 0]
            found -= step
            if np.abs(step).max(initial=0) < 1e-13:
                break
        return found


@dataclass(frozen=True)
class Camera:
    """A camera with square pixels and its principal point in the middle of the image, behind a lens."""

    width: int
    height: int
    focal: float
    """Focal length, pixels."""
    lens: Lens = Lens()

    @property
    def angle_x(self) -> float:
        """Horizontal field of view, radians, but for the lens."""
        return float(2 * np.arctan(self.width / 2 / self.focal))

    @property
    def intrinsics(self) -> dict[str, float]:
        """The names of nerfstudio's transforms.json; the middle of the first pixel is at (0.5, 0.5)."""
        middle = {"cx": self.width / 2, "cy": self.height / 2}
        return {"w": self.width, "h": self.height, "fl_x": self.focal, "fl_y": self.focal, **middle}

    @cached_property
    def wide(self) -> tuple[int, int, float]:
        """Width and height in fine pixels and horizontal field of view, radians, of a pinhole that sees all of it."""
        right, down = np.arange(self.width + 1) - self.width / 2, np.arange(self.height + 1) - self.height / 2
        border = np.concatenate(
            [_pairs(right, [down[0]]), _pairs(right, [down[-1]]), _pairs([right[0]], down), _pairs([right[-1]], down)]
        )
        reach = np.abs(self.lens.undistort(border / self.focal)).max(axis=0)
        if not (np.linalg.det(self.lens.jacobian(_grid(reach, 65))) > 0).all():
            raise SceneError(f"the lens {self.lens} folds the image over at a focal length of {self.focal} pixels")
        width, height = (int(2 * np.ceil(extent * self.focal * FINENESS)) for extent in reach)
        return width, height, float(2 * np.arctan(width / 2 / FINENESS / self.focal))

    @cached_property
    def _shares(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fine pixel, pixel, and the area that the one covers of the other, wherever there is any."""
        width, height, _ = self.wide
        right, down = np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2
        points = _pairs(right, down) / (FINENESS * self.focal)
        jacobian = self.lens.jacobian(points)
        side = np.diagonal(jacobian, axis1=1, axis2=2) / FINENESS
        start = self.lens.distort(points) * self.focal + [self.width / 2, self.height / 2] - side / 2
        first = np.floor(start).astype(int)
        beyond = np.clip((start + side - first - 1) / side, 0, 1)  # the part of it past the first pixel, on each axis
        pieces = []
        for across, along in ((0, 0), (1, 0), (0, 1), (1, 1)):
            column, row = (first + [across, along]).T
            part = np.abs(1 - across - beyond[:, 0]) * np.abs(1 - along - beyond[:, 1])
            seen = (column >= 0) & (column < self.width) & (row >= 0) & (row < self.height) & (part > 0)
            area = part[seen] * np.linalg.det(jacobian[seen])
            pieces.append((np.flatnonzero(seen), (row * self.width + column)[seen], area))
        fine, pixel, area = (np.concatenate(piece) for piece in zip(*pieces))
        return fine, pixel, area

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The pinhole image of the size that `wide` names, (.., .., channels) linear -> (height, width, channels)."""
        fine, pixel, area = self._shares
        count = self.width * self.height
        covered = np.bincount(pixel, area, minlength=count)
        channels = image.reshape(-1, image.shape[-1]).T
        sums = [np.bincount(pixel, area * channel[fine], minlength=count) for channel in channels]
        return (np.stack(sums, axis=-1) / covered[:, None]).reshape(self.height, self.width, -1)


def _pairs(x, y) -> np.ndarray:
    """(len(y) * len(x), 2) every x with every y, x fastest."""
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _grid(reach: np.ndarray, count: int) -> np.ndarray:
    return _pairs(*(extent * np.linspace(-1, 1, count) for extent in reach))
