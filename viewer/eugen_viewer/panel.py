"""The controls of one browser and what they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from eugen_viewer.cameras import View
from eugen_viewer.card import card, facts
from eugen_viewer.jobs import Worker
from eugen_viewer.live import LivePicture
from eugen_viewer.opened import OpenedRun, Shown
from eugen_viewer.pictures import MODES, Picture

if TYPE_CHECKING:
    import viser

HEIGHTS = (128, 1080)


class Panel:
    """One browser: its live picture and its controls, which no other browser shares.

    Args:
        client: the browser.
        runs: one run, or two to compare.
        worker: renders for all browsers.
    """

    def __init__(self, client: viser.ClientHandle, runs: Sequence[OpenedRun], worker: Worker) -> None:
        self.client, self.runs, self.worker = client, runs, worker
        self.live = LivePicture(worker, self.shown, self.view, self._send)
        tabs = client.gui.add_tab_group()
        with tabs.add_tab("View"):
            self._add_view_controls()
        client.camera.on_update(lambda _: self.live.wake())

    def shown(self) -> list[Shown]:
        return [run.shown for run in self.runs]

    def view(self) -> View:
        camera = self.client.camera
        return View.of_browser(camera.wxyz, camera.position, camera.fov, camera.aspect)

    def close(self) -> None:
        self.live.stop()

    def refresh(self) -> None:
        """There is a newer checkpoint."""
        self.facts = [facts(shown) for shown in self.shown()]
        self.live.wake()

    def _send(self, pixels: np.ndarray, picture: Picture) -> None:
        self.client.scene.set_background_image(pixels, format="jpeg", jpeg_quality=90)
        if picture.height >= self.live.height:
            self._write_cards()

    def _write_cards(self) -> None:
        for index, (markdown, rows) in enumerate(zip(self.cards, self.facts)):
            markdown.content = card(rows, self.live.timing if index == 0 and len(self.cards) == 1 else None)

    def _add_view_controls(self) -> None:
        gui, shown = self.client.gui, self.shown()
        self.mode = gui.add_dropdown("Show", MODES, hint="What of the render is shown")
        self.height = gui.add_slider(
            "Rows at rest", HEIGHTS[0], HEIGHTS[1], 4, self.live.height, hint="Height of the picture when all is still"
        )
        self.split = gui.add_slider(
            "Split", 0.0, 1.0, 0.005, 0.5, visible=len(shown) > 1, hint="Left of it the first run, right the second"
        )
        for handle in (self.mode, self.height, self.split):
            handle.on_update(lambda _: self.apply())
        self.facts = [facts(one) for one in shown]
        self.cards = []
        for one, side in zip(shown, ("Left: ", "Right: ") if len(shown) > 1 else ("",)):
            with gui.add_folder(f"{side}{one.name}"):
                self.cards.append(gui.add_markdown(""))
        self._write_cards()

    def apply(self) -> None:
        """Takes up the controls' values."""
        self.live.height = int(self.height.value)
        self.live.look = replace(self.live.look, mode=self.mode.value, split=float(self.split.value))
        self.live.wake()


def look_through(client: viser.ClientHandle, view: View, distance: float) -> None:
    """Moves a browser's camera to a view; it then turns about the point this far ahead."""
    with client.atomic():
        client.camera.position = view.position
        client.camera.look_at = view.position - distance * view.pose[:, 2]
        client.camera.wxyz = view.wxyz
        client.camera.fov = view.fov
