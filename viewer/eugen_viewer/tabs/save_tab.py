"""Controls that save a screenshot, a turntable or a video along chosen views; the browser downloads the files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eugen_viewer.jobs import IDLE, Steps
from eugen_viewer.pictures.cameras import View
from eugen_viewer.pictures.paths import through, turntable
from eugen_viewer.pictures.pictures import render
from eugen_viewer.pictures.video import FORMATS, encode_image, encode_video
from eugen_viewer.stage import Stage

_WAIT_SECONDS = 120.0
_CHUNK = 2048


class SaveTab:
    """Downloads that one browser can ask for."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.views: list[View] = []
        gui = stage.client.gui
        self.screenshot = gui.add_button("Screenshot", hint="The render as PNG, in the size that it has at rest")
        self.screenshot.on_click(lambda _: self._save_screenshot())
        with gui.add_folder("Video"):
            self.kind = gui.add_dropdown("Format", FORMATS)
            self.rows = gui.add_slider("Image height", 64, 1080, 4, 256)
            self.frames = gui.add_slider("Frames", 8, 240, 1, 48)
            self.fps = gui.add_slider("Frames per second", 4, 60, 1, 16)
            self.turn = gui.add_button("Turntable", hint="One turn about the point that the camera orbits")
            self.add = gui.add_button("Add this view to the path")
            self.clear = gui.add_button("Clear the path", visible=False)
            self.follow = gui.add_button("Record the path", visible=False)
            self.progress = gui.add_markdown("", visible=False)
            self.stop = gui.add_button("Stop", visible=False)
        self.turn.on_click(lambda _: self._record(self._turntable()))
        self.add.on_click(lambda _: self._set_path([*self.views, self.stage.view()]))
        self.clear.on_click(lambda _: self._set_path([]))
        self.follow.on_click(lambda _: self._record(through(self.views, int(self.frames.value))))
        self.stop.on_click(lambda _: self._end("stopped"))

    def close(self) -> None:
        self.stage.worker.cancel(self)

    def _name(self, ending: str) -> str:
        run = self.stage.shown()[0].run
        return f"{run.method_name}-{run.step}.{ending}"

    def _save_screenshot(self) -> None:
        if self.stage.live.finished.wait(_WAIT_SECONDS) and self.stage.live.last is not None:
            self.stage.client.send_file_download(self._name("png"), encode_image(self.stage.live.last[0]))

    def _set_path(self, views: list[View]) -> None:
        self.views = views
        self.clear.visible, self.follow.visible = bool(views), len(views) > 1
        self._say(f"{len(views)} views on the path" if views else "")

    def _turntable(self) -> list[View]:
        center = np.asarray(self.stage.client.camera.look_at, dtype=np.float64)
        return turntable(self.stage.view(), center, int(self.frames.value))

    def _say(self, text: str) -> None:
        self.progress.content, self.progress.visible = text, bool(text)

    def _record(self, views: Sequence[View]) -> None:
        """Renders views while nothing else wants to be rendered."""
        self._set_busy(True)
        self._say(f"frame 0 of {len(views)}")
        self.stage.worker.ensure(self, lambda: self._steps(views), IDLE)

    def _set_busy(self, busy: bool) -> None:
        self.turn.disabled = self.follow.disabled = busy
        self.stop.visible = busy

    def _end(self, text: str) -> None:
        self.stage.worker.cancel(self)
        self._set_busy(False)
        self._say(text)

    def _steps(self, views: Sequence[View]) -> Steps:
        look, runs, rows, frames = self.stage.live.look, self.stage.shown(), int(self.rows.value), []
        for number, view in enumerate(views):
            steps = render(runs, view, look, rows, _CHUNK)
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    frames.append(self.stage.draw(end.value, look, view))
                    break
                yield IDLE
            self._say(f"frame {number + 1} of {len(views)}")
            yield IDLE
        try:
            content = encode_video(frames, int(self.fps.value), self.kind.value)
        except (OSError, ValueError, ImportError) as error:
            self.stage.fail("The video could not be encoded", error)
            content = b""
        if content:
            self.stage.client.send_file_download(self._name(self.kind.value), content)
        self._set_busy(False)
        self._say(f"{len(views)} frames, {len(content):,} bytes")
