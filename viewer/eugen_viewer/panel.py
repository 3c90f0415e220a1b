"""The controls of one browser, tab by tab."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eugen_viewer.card import card, summary
from eugen_viewer.jobs import Worker
from eugen_viewer.opened import OpenedRun
from eugen_viewer.pictures.photos import Photos
from eugen_viewer.pictures.pictures import ERROR, MODES
from eugen_viewer.stage import Stage
from eugen_viewer.start import Start, find_subject
from eugen_viewer.tabs.camera_tab import CameraTab
from eugen_viewer.tabs.save_tab import SaveTab
from eugen_viewer.tabs.shape_tab import ShapeTab

if TYPE_CHECKING:
    import viser

_HEIGHTS = (128, 1080)
NO_CURVES = "This run has no training curves (`--vis tensorboard` records them)."


class Panel:
    """One browser: its live picture and its controls, which no other browser shares.

    Args:
        client: the browser.
        runs: one run, or two to compare.
        worker: renders for all browsers.
        photos: the photos that the first run was trained on, if they are there.
    """

    def __init__(
        self, client: viser.ClientHandle, runs: Sequence[OpenedRun], worker: Worker, photos: Photos | None
    ) -> None:
        self.stage = stage = Stage(client, runs, worker, photos)
        self.live = stage.live
        tabs = client.gui.add_tab_group()
        with tabs.add_tab("View"):
            self._add_view_controls()
            with client.gui.add_folder("Training curves"):
                self.curves = client.gui.add_markdown("Reading the event files ...")
        self.cameras: CameraTab | None = None
        if photos is not None:
            with tabs.add_tab("Cameras"):
                self.cameras = CameraTab(stage, photos)
        with tabs.add_tab("Shape"):
            self.shape = ShapeTab(stage)
        with tabs.add_tab("Save"):
            self.save = SaveTab(stage)
        self.live.on_still.append(self._write_cards)

    def begin(self) -> None:
        """Places the browser's camera at a view of the subject and draws what is to be seen from there."""
        self._own_positions = [self.stage.client.camera.position]
        self._untouched = True
        self._subject = find_subject(self.stage.shown()[0].run, self.stage.photos)
        crop = self._place().crop
        if crop is not None:
            self.shape.crop_to(crop)
        self.stage.client.camera.on_update(lambda _: self._move())
        self.live.wake()
        if self.cameras is not None:
            self.cameras.draw()

    def _place(self) -> Start:
        self._aspect = self.stage.client.camera.aspect
        first = self._subject.framed(self._aspect)
        self.stage.look_through(first.view, float(np.linalg.norm(first.view.position - first.center)))
        self._own_positions.append(first.view.position)
        return first

    def _move(self) -> None:
        """The browser's camera has moved, or its page has another shape, as while it lays out its panel; until a person
        moves the camera, the subject is framed for each shape again."""
        camera = self.stage.client.camera
        if self._untouched:
            self._untouched = any(np.allclose(camera.position, own, atol=1e-4) for own in self._own_positions)
            if self._untouched and camera.aspect != self._aspect:
                self._place()
        self.live.wake()
        if self.cameras is not None:
            self.cameras.hide_near()

    def show_curves(self, curves: str) -> None:
        """Shows training curves, Markdown as of draw_curves."""
        self.curves.content = curves or NO_CURVES

    def close(self) -> None:
        self.live.stop()
        self.save.close()
        if self.cameras is not None:
            self.cameras.close()

    def refresh(self) -> None:
        """There is a newer checkpoint."""
        self.rows = [summary(shown) for shown in self.stage.shown()]
        self._write_cards()
        self.live.wake()

    def _add_view_controls(self) -> None:
        gui, shown = self.stage.client.gui, self.stage.shown()
        modes = (*MODES, ERROR) if self.stage.photos is not None and self.stage.photos.paths else MODES
        self.mode = gui.add_dropdown("Show", modes, hint="Output of the model that is shown")
        self.height = gui.add_slider(
            "Image height", *_HEIGHTS, 4, self.live.height, hint="Rows of pixels while the camera is at rest"
        )
        self.split = gui.add_slider(
            "Split",
            0.0,
            1.0,
            0.005,
            0.5,
            visible=len(shown) > 1,
            hint="The first run is shown left of the line, the second one right of it",
        )
        self.mode.on_update(lambda _: self.stage.change(mode=self.mode.value))
        self.split.on_update(lambda _: self.stage.change(split=float(self.split.value)))
        self.height.on_update(lambda _: self._set_height())
        self.rows = [summary(one) for one in shown]
        self.cards = []
        for one, side in zip(shown, ("Left: ", "Right: ") if len(shown) > 1 else ("",)):
            with gui.add_folder(f"{side}{one.name}"):
                self.cards.append(gui.add_markdown(""))
        self._write_cards()

    def _set_height(self) -> None:
        self.live.height = int(self.height.value)
        self.live.wake()

    def _write_cards(self) -> None:
        """Shows times for one run alone: of two, each renders a part of the picture."""
        for markdown, rows in zip(self.cards, self.rows):
            markdown.content = card(rows, self.live.timing if len(self.cards) == 1 else None)
