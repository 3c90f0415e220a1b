"""One thread that renders for every browser: jobs in small steps, the urgent ones first, taking turns."""

from __future__ import annotations

import itertools
import threading
import traceback
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

URGENT, SOON, IDLE = range(3)
"""Urgency of a picture while the camera moves, of its refinement, and of everything else, such as videos."""

Steps = Iterator[int]
"""A job; each step yields the urgency of the next one."""


@dataclass
class _Job:
    begin: Callable[[], Steps]
    steps: Steps | None = None
    urgency: int = URGENT
    turn: int = 0
    again: bool = False
    cancelled: bool = False


@dataclass
class Worker:
    """Runs jobs step by step in one thread; of the most urgent jobs, the one that has waited longest comes next."""

    _jobs: dict[Hashable, _Job] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False

    def __post_init__(self) -> None:
        self._turns = itertools.count(1)
        self._thread = threading.Thread(target=self._work, daemon=True, name="eugen-view renders")
        self._thread.start()

    def ensure(self, key: Hashable, begin: Callable[[], Steps], urgency: int = URGENT) -> None:
        """Starts the job `key`; a job that is already running is started once more after its end."""
        with self._changed:
            if key in self._jobs:
                self._jobs[key].again = True
                return
            self._jobs[key] = _Job(begin, urgency=urgency)
            self._changed.notify()

    def cancel(self, key: Hashable) -> None:
        """Ends a job before its next step."""
        with self._changed:
            if key in self._jobs:
                self._jobs[key].cancelled = True
                self._changed.notify()

    def close(self) -> None:
        """Ends all jobs and the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                key, job = min(
                    self._jobs.items(), key=lambda item: (not item[1].cancelled, item[1].urgency, item[1].turn)
                )
                job.turn = next(self._turns)
            going_on = self._step(job)
            with self._changed:
                if not going_on and job.again and not job.cancelled:
                    job.again, job.steps, job.urgency = False, None, URGENT
                elif not going_on:
                    del self._jobs[key]

    @staticmethod
    def _step(job: _Job) -> bool:
        """Does one step of a job and returns whether the job goes on."""
        try:
            if job.cancelled:
                if job.steps is not None:
                    job.steps.close()  # type: ignore[attr-defined]
                return False
            if job.steps is None:
                job.steps = job.begin()
            job.urgency = next(job.steps)
            return True
        except StopIteration:
            return False
        except Exception:  # one browser's trouble must not end the others' pictures
            traceback.print_exc()
            return False
