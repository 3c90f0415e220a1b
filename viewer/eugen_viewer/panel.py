"""The controls of one browser, tab by tab."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eugen_viewer.camera_tab import CameraTab
from eugen_viewer.card import card, facts
from eugen_viewer.jobs import Worker
from eugen_viewer.opened import OpenedRun
from eugen_viewer.photos import Photos
from eugen_viewer.pictures import ERROR, MODES
from eugen_viewer.save_tab import SaveTab
from eugen_viewer.shape_tab import ShapeTab
from eugen_viewer.stage import Stage
from eugen_viewer.training_tab import TrainingTab

if TYPE_CHECKING:
    import viser

_HEIGHTS = (128, 1080)


class Panel:
    """One browser: its live picture and its controls, which no other browser shares.

    Args:
        client: the browser.
        runs: one run, or two to compare.
        worker: renders for all browsers.
        photos: those the first run was trained on, if they are there.
    """

    def __init__(
        self, client: viser.ClientHandle, runs: Sequence[OpenedRun], worker: Worker, photos: Photos | None
    ) -> None:
        self.stage = stage = Stage(client, runs, worker, photos)
        self.live = stage.live
        tabs = client.gui.add_tab_group()
        with tabs.add_tab("View"):
            self._add_view_controls()
        if photos is not None:
            with tabs.add_tab("Cameras"):
                self.cameras = CameraTab(stage, photos)
        with tabs.add_tab("Shape"):
            self.shape = ShapeTab(stage)
        with tabs.add_tab("Save"):
            self.save = SaveTab(stage)
        with tabs.add_tab("Curves"):
            self.training = TrainingTab(stage)
        self.live.on_still.append(self._write_cards)
        client.camera.on_update(lambda _: self.live.wake())

    def close(self) -> None:
        self.live.stop()
        self.save.close()

    def refresh(self) -> None:
        """There is a newer checkpoint."""
        self.facts = [facts(shown) for shown in self.stage.shown()]
        self._write_cards()
        self.training.refresh()
        self.live.wake()

    def _add_view_controls(self) -> None:
        gui, shown = self.stage.client.gui, self.stage.shown()
        modes = (*MODES, ERROR) if self.stage.photos is not None and self.stage.photos.paths else MODES
        self.mode = gui.add_dropdown("Show", modes, hint="What of the render is shown")
        self.height = gui.add_slider(
            "Rows at rest", *_HEIGHTS, 4, self.live.height, hint="Height of the picture when all is still"
        )
        self.split = gui.add_slider(
            "Split", 0.0, 1.0, 0.005, 0.5, visible=len(shown) > 1, hint="Left of it the first run, right the second"
        )
        self.mode.on_update(lambda _: self.stage.change(mode=self.mode.value))
        self.split.on_update(lambda _: self.stage.change(split=float(self.split.value)))
        self.height.on_update(lambda _: self._set_height())
        self.facts = [facts(one) for one in shown]
        self.cards = []
        for one, side in zip(shown, ("Left: ", "Right: ") if len(shown) > 1 else ("",)):
            with gui.add_folder(f"{side}{one.name}"):
                self.cards.append(gui.add_markdown(""))
        self._write_cards()

    def _set_height(self) -> None:
        self.live.height = int(self.height.value)
        self.live.wake()

    def _write_cards(self) -> None:
        """Times belong to one run alone: of two, each renders a part of the picture."""
        for markdown, rows in zip(self.cards, self.facts):
            markdown.content = card(rows, self.live.timing if len(self.cards) == 1 else None)
