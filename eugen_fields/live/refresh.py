"""When a picture of a field in training is made again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

_SHARE_OF_TIME = 0.1
"""Maximum share of time spent on automatic refreshes."""


class Refresh:
    """Says when to refresh: when it was asked for, and when the field has changed, within a share of the time."""

    def __init__(self, now: Callable[[], float] = time.monotonic, busy: Callable[[], float] = time.thread_time) -> None:
        self.asked = True
        self._now = now
        self._busy = busy  # waiting for the lock of training costs nothing
        self._step: int | None = None
        self._not_before = 0.0

    def due(self, step: int) -> bool:
        """Whether to refresh at a training step."""
        return self.asked or (step != self._step and self._now() >= self._not_before)

    @contextlib.contextmanager
    def made(self, step: int) -> Iterator[None]:
        """Context of one refresh; what is asked for meanwhile is refreshed afterwards."""
        self.asked = False
        start = self._busy()
        yield
        self._step = step
        self._not_before = self._now() + max(1.0, (self._busy() - start) * (1.0 / _SHARE_OF_TIME - 1.0))
