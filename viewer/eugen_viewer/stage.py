"""State of one browser on which its controls act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from eugen_fields.errors import describe
from eugen_viewer.jobs import Worker
from eugen_viewer.live import LivePicture
from eugen_viewer.opened import OpenedRun, Shown
from eugen_viewer.pictures.cameras import View
from eugen_viewer.pictures.photos import Photos
from eugen_viewer.pictures.pictures import Look, Picture, paint, plane_depth

if TYPE_CHECKING:
    import viser


@dataclass
class Stage:
    """One browser, the runs that it is shown, and its live picture."""

    client: viser.ClientHandle
    runs: Sequence[OpenedRun]
    worker: Worker
    photos: Photos | None
    hides: bool = False
    """Whether the render hides objects that lie behind it, such as frusta."""
    overlays: set[str] = field(default_factory=set)
    """Names of objects that are drawn over the render and that it must not hide."""

    def __post_init__(self) -> None:
        self.live = LivePicture(self.worker, self.shown, self.view, self.draw, self._send)

    def shown(self) -> list[Shown]:
        return [run.shown for run in self.runs]

    def view(self) -> View:
        camera = self.client.camera
        return View.of_browser(camera.wxyz, camera.position, camera.fov, camera.aspect)

    def change(self, **settings: Any) -> None:
        """Sets fields of the look and renders again."""
        self.live.wake(replace(self.live.look, **settings))

    def draw(self, picture: Picture, look: Look, view: View) -> np.ndarray:
        return paint(picture, look, len(self.runs), view, self.photos)

    def _send(self, pixels: np.ndarray, picture: Picture) -> None:
        depth = plane_depth(picture) if self.hides and not self.overlays else None
        self.client.scene.set_background_image(pixels, format="jpeg", jpeg_quality=90, depth=depth)

    def look_through(self, view: View, distance: float | None = None) -> None:
        """Moves the browser's camera to a view.

        Args:
            view: where it goes.
            distance: from the camera to the point about which it turns from then on, straight ahead. None: as far as
                the middle of the scene.
        """
        distance = self._distance(view) if distance is None else distance
        with self.client.atomic():
            self.client.camera.position = view.position
            self.client.camera.look_at = view.position - distance * view.pose[:, 2]
            self.client.camera.wxyz = view.wxyz
            self.client.camera.fov = view.fov

    def _distance(self, view: View) -> float:
        """Distance from a camera to the middle of the scene, along where it looks."""
        aabb = self.runs[0].shown.run.aabb.numpy().astype(np.float64)
        ahead = -float((aabb.mean(axis=0) - view.position) @ view.pose[:, 2])
        return max(ahead, 0.1 * float(np.linalg.norm(aabb[1] - aabb[0])))

    def fail(self, title: str, error: BaseException) -> None:
        """Shows a notification about an error in the browser."""
        self.client.add_notification(title, describe(error))
