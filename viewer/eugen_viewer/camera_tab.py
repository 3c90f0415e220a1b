"""Controls of the training cameras: frusta with thumbnails, and jumps to a photo's view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eugen_viewer.photos import Photos
from eugen_viewer.stage import Stage

if TYPE_CHECKING:
    import viser

_MOST_FRUSTA = 60
_THUMBNAIL = 96
_SIZE = 0.03
"""Of a frustum, as a share of the scene box's diagonal."""


class CameraTab:
    """Where photos were taken."""

    def __init__(self, stage: Stage, photos: Photos) -> None:
        self.stage, self.photos = stage, photos
        self.frusta: dict[int, viser.CameraFrustumHandle] = {}
        gui = stage.client.gui
        self.show = gui.add_checkbox("Show cameras", False, hint="Click on one to look through it")
        self.index = gui.add_slider("Photo", 0, max(1, len(photos) - 1), 1, 0)
        self.jump = gui.add_button("Look through it")
        self.show.on_update(lambda _: self._show())
        self.jump.on_click(lambda _: self.look_through(int(self.index.value)))

    def look_through(self, index: int) -> None:
        """Moves the browser's camera to that of a photo; its frustum would stand right before it and is hidden."""
        index = min(index, len(self.photos) - 1)
        for other, frustum in self.frusta.items():
            frustum.visible = bool(self.show.value) and other != index
        self.stage.look_through(self.photos.view(index))

    def _show(self) -> None:
        shown = bool(self.show.value)
        if shown and not self.frusta:
            for index in self.photos.some(_MOST_FRUSTA):
                self.frusta[index] = self._add(index)
        for frustum in self.frusta.values():
            frustum.visible = shown
        self.stage.hides = shown
        self.stage.live.wake()

    def _add(self, index: int) -> viser.CameraFrustumHandle:
        view = self.photos.view(index)
        aabb = self.stage.runs[0].shown.run.aabb.numpy()
        frustum = self.stage.client.scene.add_camera_frustum(
            f"/cameras/{index}",
            fov=view.fov,
            aspect=view.aspect,
            scale=_SIZE * float(np.linalg.norm(aabb[1] - aabb[0])),
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
