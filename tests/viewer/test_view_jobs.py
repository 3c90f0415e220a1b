"""The one thread that renders: urgent jobs first, equal ones in turn, cancelled ones not at all."""

from __future__ import annotations

import threading

import pytest

from eugen_viewer.jobs import IDLE, SOON, URGENT, Worker


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.close()


def held(worker):
    """Keeps the thread busy until the event is set, so that jobs can gather."""
    begun, release = threading.Event(), threading.Event()

    def steps():
        begun.set()
        release.wait(10)
        yield URGENT

    worker.ensure("holder", steps)
    assert begun.wait(10)
    return release


def test_urgent_jobs_come_first_and_equal_ones_take_turns(worker):
    order, done, release = [], threading.Event(), held(worker)

    def steps(name, urgency):
        for _ in range(2):
            order.append(name)
            yield urgency
        if len(order) == 8:
            done.set()

    for name, urgency in (("idle", IDLE), ("a", SOON), ("b", SOON), ("urgent", URGENT)):
        worker.ensure(name, lambda name=name, urgency=urgency: steps(name, urgency), urgency)
    release.set()
    assert done.wait(10)
    assert order == ["urgent", "urgent", "a", "b", "a", "b", "idle", "idle"]


def test_a_job_that_is_wanted_while_it_runs_begins_once_more(worker):
    counts, done, release = [], threading.Event(), held(worker)

    def steps():
        counts.append(1)
        if len(counts) == 2:
            done.set()
        yield URGENT

    worker.ensure("job", steps)
    for _ in range(5):
        worker.ensure("job", steps)
    release.set()
    assert done.wait(10)
    worker.close()
    assert len(counts) == 2


def test_a_cancelled_job_does_not_go_on_and_a_failing_one_harms_no_other(worker, capsys):
    release, reached, done = held(worker), [], threading.Event()

    def cancelled():
        reached.append("cancelled")
        yield URGENT

    def failing():
        yield URGENT
        raise ValueError("on purpose")

    def last():
        yield SOON
        done.set()

    worker.ensure("cancelled", cancelled)
    worker.ensure("failing", failing)
    worker.ensure("last", last, SOON)
    worker.cancel("cancelled")
    release.set()
    assert done.wait(10) and reached == []
    assert "on purpose" in capsys.readouterr().err
