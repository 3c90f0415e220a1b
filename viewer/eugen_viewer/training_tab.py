"""The curves of the training, drawn anew on demand and with each new checkpoint."""

from __future__ import annotations

import threading

from eugen_viewer.curves import draw_curves, read_curves
from eugen_viewer.stage import Stage


class TrainingTab:
    """Curves of one run or two."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        gui = stage.client.gui
        self.draw = gui.add_button("Draw the curves", hint="From the event files in the run's folder")
        self.curves = gui.add_markdown("")
        self.draw.on_click(lambda _: self.redraw())

    def refresh(self) -> None:
        """There is a newer checkpoint: curves that are shown are drawn anew."""
        if self.curves.content:
            threading.Thread(target=self.redraw, daemon=True, name="eugen-view curves").start()

    def redraw(self) -> None:
        sides = ("left", "right") if len(self.stage.runs) > 1 else ("",)
        try:
            found = {side: read_curves(run.folder) for side, run in zip(sides, self.stage.runs)}
            self.curves.content = draw_curves(found) or "No curves: the training wrote no event files (`--vis`)."
        except (OSError, ValueError, ImportError) as error:
            self.stage.fail("No curves", error)
