"""Where a new browser looks from: a view that frames the subject of the run.

The subject is what the run knows to be occupied: cells of the occupancy grid, or cells with surface points. Objects are
looked at from the side from which they show most, rooms of signed distance from above with their upper part cut off,
and captures without bounds through the most typical of their own cameras, as nothing is known of other places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from eugen_fields.runs import RadianceRun, Run, SDFRun
from eugen_viewer.pictures.cameras import View
from eugen_viewer.pictures.photos import Photos

Box = tuple[tuple[float, float, float], tuple[float, float, float]]

_FOV = math.radians(60.0)
_FILL = 0.62
"""Share of the page that an object takes; the rest shows cameras around it."""
_ROOM_FILL = 0.9
_ELEVATION = math.radians(28.0)
"""Height above the horizon from which objects are best recognised."""
_ROOM_ELEVATION = math.radians(62.0)
_OUTLIERS = 0.01
"""Share of the cells at either end of each axis that may lie outside of the frame: stray floaters."""
_MOST_CAMERAS = 60


@dataclass(frozen=True)
class Start:
    """A first view."""

    view: View
    center: np.ndarray
    """Point about which the camera turns, shape (3,)."""
    crop: Box | None = None
    """Corners of the part of the scene that is shown; None: all of it."""


@dataclass(frozen=True)
class Subject:
    """What a run shows, and from where."""

    points: np.ndarray
    """Points to have in the page, shape (N, 3)."""
    back: np.ndarray
    """Direction from the subject to the viewer, shape (3,)."""
    fill: float
    """Share of the page that the points take."""
    crop: Box | None = None
    """As in Start."""

    def framed(self, aspect: float) -> Start:
        """The nearest view along the direction that has all points within the share of the page.

        Args:
            aspect: width over height of the page; 0 or NaN where it is not known yet.
        """
        aspect = aspect if aspect > 0 else 1.0
        axes = _axes(self.back)
        local = self.points @ axes
        middle = (local.min(axis=0) + local.max(axis=0)) / 2
        local = local - middle
        slope = self.fill * math.tan(0.5 * _FOV)
        distance = float((local[:, 2] + np.maximum(np.abs(local[:, 0]) / aspect, np.abs(local[:, 1])) / slope).max())
        center = axes @ middle
        return Start(View(np.column_stack([axes, center + distance * axes[:, 2]]), _FOV, aspect), center, self.crop)


@dataclass(frozen=True)
class OwnCamera:
    """A subject that is looked at through one of its own cameras, whatever the shape of the page."""

    start: Start

    def framed(self, aspect: float) -> Start:
        """The view of the camera."""
        return self.start


def find_subject(run: Run, photos: Photos | None = None) -> Subject | OwnCamera:
    """The subject of a run; `framed` gives the first view of it.

    Args:
        run: the run.
        photos: its training photos, if they are there.
    """
    if isinstance(run, SDFRun):
        return _room(run, photos)
    assert isinstance(run, RadianceRun)
    if photos is not None and not getattr(run.field, "bounded", True):
        return OwnCamera(_typical(photos))
    points = _kept(_occupied(run))
    return Subject(points, _best_direction(points, photos), _FILL)


def _occupied(run: RadianceRun) -> np.ndarray:
    """Centres of the occupied cells, shape (N, 3); the corners of the scene box where there are none."""
    grid = run.grid
    cells = grid.occupied.view(3 * (grid.resolution,)).nonzero().cpu().double()
    if len(cells) == 0:
        return _corners(run)
    low, high = run.aabb.double()
    return (low + (cells + 0.5) * (high - low) / grid.resolution).numpy()


def _corners(run: Run) -> np.ndarray:
    low, high = run.aabb.double().numpy()
    return np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])


def _kept(points: np.ndarray) -> np.ndarray:
    """The points without outliers."""
    low, high = np.quantile(points, [_OUTLIERS, 1.0 - _OUTLIERS], axis=0)
    return points[((points >= low) & (points <= high)).all(axis=1)]


def _axes(back: np.ndarray) -> np.ndarray:
    """Rotation of an upright OpenGL camera whose z axis points along `back`, shape (3, 3); columns are its axes."""
    back = back / np.linalg.norm(back)
    right = np.array([-back[1], back[0], 0.0])
    length = np.linalg.norm(right)
    right = right / length if length > 1e-6 else np.array([1.0, 0.0, 0.0])
    return np.stack([right, np.cross(back, right), back], axis=1)


def _best_direction(points: np.ndarray, photos: Photos | None) -> np.ndarray:
    """From the subject to the viewer, shape (3,): where the points show the largest area, from a little above; among
    the training cameras' directions if they are known."""
    center = points.mean(axis=0)
    if photos is not None:
        positions = np.stack([photos.view(index).position for index in photos.some(_MOST_CAMERAS)])
        directions = positions - center
    else:
        azimuths = np.arange(8) * (math.pi / 4) - math.pi / 4
        flat, up = math.cos(_ELEVATION), math.sin(_ELEVATION)
        directions = np.stack([[flat * math.cos(angle), flat * math.sin(angle), up] for angle in azimuths])
    spread = np.cov((points - center).T)

    def score(direction: np.ndarray) -> float:
        axes = _axes(direction)
        area = math.sqrt(max(0.0, float(np.linalg.det(axes[:, :2].T @ spread @ axes[:, :2]))))
        return area * math.cos(math.asin(axes[2, 2]) - _ELEVATION)

    return max(directions, key=score)


def _room(run: SDFRun, photos: Photos | None) -> Subject:
    """A room from above, cut where most of its space is open, which is above the furniture and below the ceiling."""
    cells = run.seen.surface_cells().nonzero().cpu().double()
    layers = run.seen.open_cells().sum(dim=(0, 1)).cpu()
    low, high = run.aabb.double()
    if len(cells) == 0 or int(layers.max()) == 0:
        return Subject(_corners(run), np.array([1.0, -1.0, 0.6]), _FILL)
    top = int((layers >= 0.9 * layers.max()).nonzero().max())
    cells = cells[cells[:, 2] <= top]
    points = _kept((low + (cells + 0.5) * run.seen.cell_size).numpy()) if len(cells) else _corners(run)
    cut = float(torch.minimum(low[2] + (top + 0.5) * run.seen.cell_size, high[2]))
    crop = (tuple(low.tolist()), (*high[:2].tolist(), cut))
    behind = np.array([0.0, -1.0]) if photos is None else photos.view(0).pose[:2, 2]
    side = int(np.abs(behind).argmax())  # walls mostly run along the axes of the box
    back = np.array([0.0, 0.0, math.sin(_ROOM_ELEVATION)])
    back[side] = math.copysign(math.cos(_ROOM_ELEVATION), behind[side])
    return Subject(points, back, _ROOM_FILL, crop)  # type: ignore[arg-type]


def _typical(photos: Photos) -> Start:
    """The photo that points most nearly at what all of them point at, from a usual distance."""
    views = [photos.view(index) for index in photos.some(_MOST_CAMERAS)]
    positions = np.stack([view.position for view in views])
    ahead = np.stack([-view.pose[:, 2] for view in views])
    across = np.eye(3) - ahead[:, :, None] * ahead[:, None, :]  # projections perpendicular to the optical axes
    center = np.linalg.lstsq(across.sum(axis=0), (across @ positions[:, :, None]).sum(axis=0)[:, 0], rcond=None)[0]
    toward = center - positions
    distances = np.linalg.norm(toward, axis=1)
    aside = np.arccos(np.clip((toward * ahead).sum(axis=1) / np.maximum(distances, 1e-6), -1.0, 1.0))
    best = int(np.argmin(aside + np.abs(np.log(np.maximum(distances, 1e-6) / np.median(distances)))))
    return Start(views[best], positions[best] + distances[best] * ahead[best])
