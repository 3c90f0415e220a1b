"""Controls of the training cameras: frusta with thumbnails, and jumps to a photo's view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eugen_viewer.jobs import SOON, Steps
from eugen_viewer.pictures.photos import Photos
from eugen_viewer.stage import Stage

if TYPE_CHECKING:
    import viser

_MOST_FRUSTA = 60
_THUMBNAIL = 96
"""Longest side of a thumbnail, pixels."""
_SIZE = 0.03
"""Size of a frustum, as a share of the diagonal of the scene box."""
_CLEARANCE = 2.0
"""Frusta nearer to the browser's camera than so many of their sizes would cover the page and are hidden."""


class CameraTab:
    """The training cameras, drawn as frusta from the start."""

    def __init__(self, stage: Stage, photos: Photos) -> None:
        self.stage, self.photos = stage, photos
        self.frusta: dict[int, viser.CameraFrustumHandle] = {}
        aabb = stage.runs[0].shown.run.aabb.numpy()
        self._size = _SIZE * float(np.linalg.norm(aabb[1] - aabb[0]))
        gui = stage.client.gui
        self.show = gui.add_checkbox("Show cameras", True, hint="Click a camera to look through it")
        self.index = gui.add_slider("Photo", 0, max(1, len(photos) - 1), 1, 0)
        self.jump = gui.add_button("Look through this camera")
        self.show.on_update(lambda _: self.draw())
        self.jump.on_click(lambda _: self.look_through(int(self.index.value)))

    def look_through(self, index: int) -> None:
        """Moves the browser's camera to that of a photo."""
        self.stage.look_through(self.photos.view(min(index, len(self.photos) - 1)))

    def draw(self) -> None:
        """Shows or hides the frusta as the checkbox says."""
        if self.show.value:
            self.stage.worker.ensure(self, self._add_missing, SOON)
        self.hide_near()
        self.stage.hides = bool(self.show.value)
        self.stage.live.wake()

    def close(self) -> None:
        self.stage.worker.cancel(self)

    def _add_missing(self) -> Steps:
        """Adds one frustum per step, as reading the thumbnail of a large photo takes a while."""
        for index in self._spaced():
            if index not in self.frusta:
                self.frusta[index] = self._add(index)
                self.hide_near()
                yield SOON

    def _spaced(self) -> list[int]:
        """Photos whose frusta do not cover each other, at most _MOST_FRUSTA."""
        chosen: list[int] = []
        for index in self.photos.some(_MOST_FRUSTA):
            position = self.photos.view(index).position
            others = [self.photos.view(other).position for other in chosen]
            if all(np.linalg.norm(position - other) > self._size for other in others):
                chosen.append(index)
        return chosen

    def hide_near(self) -> None:
        """Hides frusta right in front of the browser's camera, and shows the others if they are wanted."""
        eye, wanted = self.stage.view().position, bool(self.show.value)
        for frustum in list(self.frusta.values()):
            visible = wanted and float(np.linalg.norm(frustum.position - eye)) > _CLEARANCE * self._size
            if visible != frustum.visible:
                frustum.visible = visible

    def _add(self, index: int) -> viser.CameraFrustumHandle:
        view = self.photos.view(index)
        frustum = self.stage.client.scene.add_camera_frustum(
            f"/cameras/{index}",
            fov=view.fov,
            aspect=view.aspect,
            scale=self._size,
            color=(60, 110, 200),
            image=self.photos.image(index, _THUMBNAIL),
            wxyz=view.wxyz,
            position=view.position,
        )

        @frustum.on_click
        def _(_event) -> None:
            self.index.value = index
            self.look_through(index)

        return frustum
