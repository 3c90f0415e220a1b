"""The live picture of one browser: coarse while its camera moves, finer and finer when it rests."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eugen_viewer.jobs import SOON, URGENT, Steps, Worker
from eugen_viewer.opened import Shown
from eugen_viewer.pictures.cameras import View
from eugen_viewer.pictures.pictures import Look, Picture, render

MOVING_SECONDS = 0.1
"""Longest time of a picture while the camera moves."""
_STEP_SECONDS = 0.05
"""Longest time of one step, as other jobs wait for it."""
_FINER = 2.5
"""Ratio of the heights of successive pictures, coarse to fine."""
_SMALLEST = 24


@dataclass
class Timing:
    """Times of the last pictures."""

    moving: tuple[int, int, float] | None = None
    """Width, height and milliseconds of the last picture while the camera moved."""
    still: tuple[int, int, float] | None = None
    """Width, height and milliseconds of the last picture at full height."""


class LivePicture:
    """Renders what one browser looks at.

    Args:
        worker: shared by all browsers.
        runs: what to render, newest weights, each time anew.
        view: the browser's camera.
        draw: makes pixels of a render.
        send: shows pixels (height, width, 3) in the browser; called in the worker's thread.
    """

    def __init__(
        self,
        worker: Worker,
        runs: Callable[[], Sequence[Shown]],
        view: Callable[[], View],
        draw: Callable[[Picture, Look, View], np.ndarray],
        send: Callable[[np.ndarray, Picture], None],
    ) -> None:
        self.look = Look()
        self.height = 512
        """Height of the picture when the camera rests, pixels."""
        self.timing = Timing()
        self.finished = threading.Event()
        """Set while the picture has its full height."""
        self.last: tuple[np.ndarray, Picture, View] | None = None
        self.on_still: list[Callable[[], None]] = []
        """Called when a picture of full height is shown."""
        self._worker, self._runs, self._view, self._draw, self._send = worker, runs, view, draw, send
        self._wanted, self._shown = 0, -1
        self._rays_per_second: dict[str, float] = {}

    def wake(self, look: Look | None = None) -> None:
        """Renders again: the camera has moved, the weights are newer, or other settings are wanted."""
        self.finished.clear()
        self.look = look or self.look
        self._wanted += 1
        self.finished.clear()
        self._worker.ensure(self, self._steps)

    def stop(self) -> None:
        self._worker.cancel(self)

    def _speed(self) -> float:
        return self._rays_per_second.get(self.look.mode, 5e4)

    def _heights(self, aspect: float) -> list[int]:
        """Heights of the pictures to show one after the other."""
        height = int(math.sqrt(self._speed() * MOVING_SECONDS / aspect))
        heights = [min(max(height, _SMALLEST), self.height)]
        while heights[-1] * _FINER < self.height:
            heights.append(int(heights[-1] * _FINER))
        return heights if heights[-1] == self.height else [*heights, self.height]

    def _steps(self) -> Steps:
        while self._shown != self._wanted:
            wanted, view, look, runs = self._wanted, self._view(), self.look, self._runs()
            heights = self._heights(view.aspect)
            for height in heights:
                coarse = height == heights[0]
                chunk = min(max(int(self._speed() * _STEP_SECONDS), 512), 1 << 14)
                steps = render(runs, view, look, height, chunk)
                while True:
                    try:
                        next(steps)
                    except StopIteration as end:
                        picture: Picture = end.value
                        break
                    yield URGENT if coarse else SOON
                    if not coarse and wanted != self._wanted:
                        break
                if not coarse and wanted != self._wanted:
                    break  # unfinished: the camera moves on
                self._take_up(picture, view, look, coarse)
                if height == heights[-1] and wanted == self._wanted:
                    self._shown = wanted
                    self.finished.set()
                yield URGENT if wanted != self._wanted else SOON
                if wanted != self._wanted:
                    break

    def _take_up(self, picture: Picture, view: View, look: Look, coarse: bool) -> None:
        """Records the speed of a picture and shows it."""
        speed = picture.height * picture.width / picture.seconds
        old = self._rays_per_second.get(look.mode)
        self._rays_per_second[look.mode] = speed if old is None else 0.7 * old + 0.3 * speed
        took = picture.width, picture.height, 1e3 * picture.seconds
        if coarse and picture.height < self.height:
            self.timing.moving = took
        if picture.height == self.height:
            self.timing.still = took
        pixels = self._draw(picture, look, view)
        self.last = pixels, picture, view
        self._send(pixels, picture)
        if picture.height == self.height:
            for listener in self.on_still:
                listener()
