"""The frame clock: every frame has its turn, the budget holds, slow machines skip, states go on."""

import pytest
import torch

from eugen_fields.mapping.frame_clock import FrameClock


class Watch:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def run(clock, steps, agreement=lambda frame: 1.0, start=0, each=None):
    """The current frame at each of so many steps, and the frames that were done with whether they were keyframes."""
    current, done = [], []
    for step in range(start, start + steps):
        clock.before_step(step, agreement, lambda frame, kept: done.append((frame, kept)))
        current.append(clock.current)
        if each is not None:
            each(step)
    return current, done


def small(count=5, **options):
    settings = {"first_frame_steps": 4, "steps_per_frame": 2, "steps_per_keyframe": 3} | options
    return FrameClock([0.1 * index for index in range(count)], **settings)


def test_every_frame_has_its_steps_in_order():
    clock = small()
    current, done = run(clock, 15)
    assert current == [0] * 4 + [1] * 2 + [2] * 2 + [3] * 2 + [4] * 5
    assert clock.least_steps() == 12
    assert done == [(0, True), (1, False), (2, False), (3, False), (4, False)]
    assert clock.ended and clock.keyframes == [0] and clock.skipped == 0


def test_frames_that_the_map_does_not_explain_become_keyframes_with_more_steps():
    asked = []

    def agreement(frame):
        asked.append(frame)
        return 0.2 if frame == 2 else 0.9

    clock = small()
    current, done = run(clock, 15, agreement)
    assert current == [0] * 4 + [1] * 2 + [2] * 5 + [3] * 2 + [4] * 2
    assert clock.keyframes == [0, 2] and asked == [1, 2, 3]
    assert done == [(0, True), (1, False), (2, True), (3, False)]


def test_a_frame_becomes_a_keyframe_when_the_last_one_is_long_ago():
    clock = small(count=8, longest=0.25)
    run(clock, 30)
    assert clock.keyframes == [0, 3, 6]


@pytest.mark.parametrize("total", [12, 14, 17, 40])
def test_keyframes_leave_every_later_frame_its_steps(total):
    clock = small(total_steps=total)
    _, done = run(clock, total + 1, lambda frame: 0.0)
    assert [frame for frame, _ in done] == [0, 1, 2, 3, 4]
    assert clock.keyframes == [0, 1, 2, 3, 4]  # with fewer steps of their own, or none


@pytest.mark.parametrize("steps, ended", [(1, False), (9, False), (11, False), (12, True), (15, True)])
def test_the_frame_whose_turn_it_is_is_done_when_training_ends(steps, ended):
    clock = small()
    current, done = run(clock, steps)
    clock.finish(lambda frame, kept: done.append((frame, kept)))
    assert [frame for frame, _ in done] == sorted(set(current))
    assert clock.ended == ended


@pytest.mark.parametrize("seconds", [0.02, 0.06, 0.3])
def test_wall_frames_come_with_the_stream_and_late_ones_are_skipped(seconds):
    watch = Watch()
    clock = small(count=21, mode="wall", now=watch)

    def tick(step):
        watch.time += seconds

    start, (current, done) = watch.time, run(clock, 600, each=tick)
    assert clock.ended and current[-1] == 20
    came = sorted(set(current))
    assert clock.skipped == 21 - len(came) and [frame for frame, _ in done] == came
    if seconds == 0.02:
        assert clock.skipped < 6  # those that came during the many steps of the first frame
    for step, frame in enumerate(current):
        assert 0.1 * frame <= start + seconds * step - start + 1e-9  # no frame comes before its time
    first_of_last = current.index(20)
    longest_turn = clock.first_frame_steps if len(came) == 2 else 5
    assert seconds * first_of_last <= 2.0 + seconds * longest_turn


def test_wall_streams_can_run_faster():
    watch = Watch()
    clock = small(count=21, mode="wall", now=watch, speed=4.0)

    def tick(step):
        watch.time += 0.02

    current, _ = run(clock, 200, each=tick)
    assert 0.02 * current.index(20) == pytest.approx(2.0 / 4.0, abs=0.1)


def test_offline_has_all_frames_from_the_start():
    clock = small(mode="offline")
    current, done = run(clock, 3)
    assert clock.ended and clock.keyframes == [0, 1, 2, 3, 4] and current == [-1] * 3
    assert done == [(frame, True) for frame in range(5)]
    assert clock.least_steps() == 0
    assert len(clock.choose()) == 5


def test_steps_look_at_the_newest_frames_and_at_lossy_keyframes():
    clock = small(count=20, longest=0.05)
    run(clock, 80)
    assert not clock.ended and len(clock.keyframes) > 10
    clock.record({frame: 0.0 for frame in clock.known_frames()})
    clock.record({3: 5.0, 5: 5.0, 6: float("nan"), 7: float("inf")})
    torch.manual_seed(0)
    chosen = [clock.choose(newest=2, count=2) for _ in range(50)]
    known = clock.known_frames()
    assert all(frames[-2:] == known[-2:] and len(set(frames)) == 4 for frames in chosen)
    assert all(frames[:2] == [3, 5] for frames in chosen)  # the others have no loss


def test_after_the_end_no_frame_is_newest():
    clock = small(count=20, longest=0.05)
    run(clock, 400)
    assert clock.ended
    clock.record({frame: 1.0 for frame in clock.known_frames()})
    torch.manual_seed(0)
    chosen = [clock.choose(newest=2, count=3) for _ in range(40)]
    assert all(len(set(frames)) == 5 for frames in chosen)
    assert any(frames[-1] != clock.known_frames()[-1] for frames in chosen)


@pytest.mark.parametrize("stop", [0, 2, 5, 9, 13])
def test_a_state_goes_on_where_it_was(stop):
    def agreement(frame):
        return 0.3 if frame % 2 else 0.9

    whole = small()
    expected, _ = run(whole, 25, agreement)
    first, second = small(), small()
    begun, _ = run(first, stop, agreement)
    second.load_state_dict(first.state_dict())
    rest, _ = run(second, 25 - stop, agreement, start=stop)
    assert begun + rest == expected
    assert second.state_dict() == whole.state_dict()


def test_a_wall_stream_goes_on_from_its_frame():
    watch = Watch()
    clock = small(count=30, mode="wall", now=watch)
    for step in range(20):
        clock.before_step(step, lambda frame: 1.0)
        watch.time += 0.05
    state, frame = clock.state_dict(), clock.current
    assert 2 < frame < 15
    later = Watch()
    later.time = 9000.0
    resumed = small(count=30, mode="wall", now=later)
    resumed.load_state_dict(state)
    for step in range(20, 24):
        resumed.before_step(step, lambda frame: 1.0)
        later.time += 0.05
    assert frame <= resumed.current <= frame + 3
