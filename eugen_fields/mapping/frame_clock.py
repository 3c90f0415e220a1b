"""Which frame of a stream is current at each training step, and which frames are kept.

Source: "iSDF" (Ortiz et al., 2022): many steps for the first frame, some for every later one, more for those that
become keyframes. The clock says when the next frame comes: after a number of steps (the same run every time, on
machines of any speed), or when the stream has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from eugen_fields.mapping.keyframes import becomes_keyframe, choose_frames

ClockMode = Literal["steps", "wall", "offline"]


@dataclass
class FrameClock:
    """Goes through a stream frame by frame.

    "steps": every frame has its turn, after `steps_per_frame` steps each. "wall": the next frame is the newest one that
    the stream has by now; those in between are skipped. "offline": all frames are keyframes from the first step on.

    After the last frame the steps go on over the keyframes.
    """

    timestamps: Sequence[float]
    """Times of the frames, seconds, ascending."""
    mode: ClockMode = "steps"
    first_frame_steps: int = 200
    steps_per_frame: int = 10
    steps_per_keyframe: int = 60
    total_steps: int | None = None
    """Length of the training. With "steps" a keyframe gets fewer steps of its own where otherwise none would be left
    for later frames. None: not limited."""
    least_agreement: float = 0.65
    longest: float = 5.0
    """Longest time between keyframes, seconds of the stream."""
    speed: float = 1.0
    """Playback speed with "wall": seconds of the stream per second."""
    now: Callable[[], float] = time.monotonic
    """The time in seconds that "wall" goes by."""

    current: int = field(default=-1, init=False)
    """Index of the frame whose turn it is; -1 before the first step, and always for "offline"."""
    keyframes: list[int] = field(default_factory=list, init=False)
    skipped: int = field(default=0, init=False)
    """Number of frames that were passed over while an earlier one had its steps."""
    ended: bool = field(default=False, init=False)
    """Whether the last frame has had its steps."""
    _losses: dict[int, float] = field(default_factory=dict, init=False)
    _steps_left: int = field(default=0, init=False)
    _start: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.mode == "offline":
            self.keyframes = list(range(len(self.timestamps)))
            self.ended = True

    def least_steps(self) -> int:
        """Number of steps after which every frame has had its turn, if only the first one is a keyframe."""
        return 0 if self.mode == "offline" else self.first_frame_steps + self.steps_per_frame * (len(self) - 1)

    def __len__(self) -> int:
        return len(self.timestamps)

    def before_step(
        self, step: int, agreement: Callable[[int], float], frame_done: Callable[[int, bool], None] | None = None
    ) -> None:
        """Moves on to the next frame if it is time to.

        Args:
            step: the training step that comes next, from 0. "offline": all frames are done before the first.
            agreement: of a frame with the map as it was when the last keyframe was done, 0 to 1.
            frame_done: called with the index of each frame that has had all of its steps, and whether it is a keyframe.
        """
        if self.mode == "offline":
            if step == 0 and frame_done is not None:
                for frame in self.keyframes:
                    frame_done(frame, True)
            return
        if self._start is None:
            since = self.timestamps[max(0, self.current)] - self.timestamps[0]
            self._start = self.now() - since / self.speed
        if self.current < 0:
            self.current = 0
            self.keyframes.append(0)
            self._steps_left = self.first_frame_steps
        if self._steps_left <= 0:
            self._turn(step, agreement, frame_done)
        self._steps_left -= 1

    def _turn(
        self, step: int, agreement: Callable[[int], float], frame_done: Callable[[int, bool], None] | None
    ) -> None:
        """Gives the next steps to the current frame, as a keyframe, or to the next frame."""
        frame = self.current
        if not self.ended and frame not in self.keyframes:
            seconds = self.timestamps[frame] - self.timestamps[self.keyframes[-1]]
            least, longest = self.least_agreement, self.longest
            if becomes_keyframe(agreement(frame), seconds, least_agreement=least, longest=longest):
                self.keyframes.append(frame)
                self._steps_left = self._keyframe_steps(step)
        if self._steps_left > 0:
            return
        following = self._next_frame()
        if following is None:  # the stream has no newer frame yet, or no more at all
            self._steps_left = 1
            if frame == len(self) - 1 and not self.ended:
                self.ended = True
                if frame_done is not None:
                    frame_done(frame, frame in self.keyframes)
            return
        if frame_done is not None:
            frame_done(frame, frame in self.keyframes)
        self.skipped += following - frame - 1
        self.current = following
        self._steps_left = self.steps_per_frame

    def finish(self, frame_done: Callable[[int, bool], None]) -> None:
        """Ends the current frame's turn, when no step comes any more."""
        if self.current >= 0 and not self.ended:
            self.ended = self.current == len(self) - 1 and self._steps_left <= 0
            frame_done(self.current, self.current in self.keyframes)

    def _keyframe_steps(self, step: int) -> int:
        if self.total_steps is None or self.mode != "steps":
            return self.steps_per_keyframe
        needed = (len(self) - 1 - self.current) * self.steps_per_frame
        return max(0, min(self.steps_per_keyframe, self.total_steps - step - needed))

    def _next_frame(self) -> int | None:
        last = len(self) - 1
        if self.current == last:
            return None
        if self.mode == "steps":
            return self.current + 1
        assert self._start is not None
        elapsed = (self.now() - self._start) * self.speed
        newest = self.current
        while newest < last and self.timestamps[newest + 1] - self.timestamps[0] <= elapsed:
            newest += 1
        return newest if newest > self.current else None

    def known_frames(self) -> list[int]:
        """Indices of the keyframes and of the current frame, in order of time."""
        return self.keyframes + [self.current] * (self.current >= 0 and self.current not in self.keyframes)

    def choose(self, newest: int = 2, count: int = 3, generator: torch.Generator | None = None) -> list[int]:
        """Frames for the next step: the newest ones and `count` earlier keyframes, drawn by their loss. Once the stream
        has ended none is the newest, and all are drawn."""
        known = self.known_frames()
        unseen = max(self._losses.values(), default=1.0)  # a frame that was never looked at comes soon
        losses = torch.tensor([self._losses.get(frame, unseen) for frame in known], dtype=torch.float64)
        if self.ended:
            newest, count = 0, newest + count
        return [known[index] for index in choose_frames(losses, newest=newest, count=count, generator=generator)]

    def record(self, losses: dict[int, float]) -> None:
        """Keeps the mean losses of the frames that a step looked at; those that are not finite are passed over."""
        self._losses.update({frame: loss for frame, loss in losses.items() if 0 <= loss < float("inf")})

    def state_dict(self) -> dict[str, Any]:
        """The state of the clock as plain numbers."""
        return {
            "current": self.current,
            "keyframes": list(self.keyframes),
            "losses": dict(self._losses),
            "steps_left": self._steps_left,
            "skipped": self.skipped,
            "ended": self.ended,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a state; a "wall" stream continues from its current frame."""
        self.current, self.keyframes = int(state["current"]), list(state["keyframes"])
        self._losses = dict(state["losses"])
        self._steps_left, self.skipped, self.ended = int(state["steps_left"]), int(state["skipped"]), state["ended"]
        self._start = None
