"""One attempt of the campaign of hostile input: a command in a fork of this process, and a verdict on how it ends."""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 60
"""Processor time of a trial; several times as much by the clock, since other processes may want the processor too."""
MEMORY = 6 << 30
"""Bytes of data of a trial."""


@dataclass
class Trial:
    """One attempt.

    Attributes:
        words: the command, as typed.
        damage: what was done to files or flags, in words.
        inputs: folders whose files must be as they were when it ends.
        canary: a file that only code from a damaged file would make.
    """

    words: Sequence[object]
    damage: str
    inputs: Sequence[Path]
    canary: Path


@dataclass
class Outcome:
    """How a trial ended.

    Attributes:
        faults: what was wrong; empty where it ended well.
        output: what the command printed.
        status: its exit status; None where it was killed.
    """

    status: int | None
    output: str
    seconds: float
    faults: list[str] = field(default_factory=list)


def run(trial: Trial, log: Path, command: Callable[[Sequence[str]], None] | None = None) -> Outcome:
    """Runs a trial in a fork of this process and judges how it ends.

    Args:
        trial: what to run.
        log: where its output goes.
        command: runs it in the fork; None: the command that its first word names.
    """
    before = _state(trial.inputs)
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_the_command(trial, log, command or _call)
    status: int | None = None
    waited = 0.0
    while waited < 5 * SECONDS:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
            break
        before_sleep = time.monotonic()
        time.sleep(0.01)
        waited += min(0.1, time.monotonic() - before_sleep)  # not the time for which this process was stopped
    else:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # processes that it left
    outcome = Outcome(status, log.read_text(errors="replace"), time.monotonic() - start)
    outcome.faults = judge(outcome.status, outcome.output)
    if trial.canary.exists():
        outcome.faults.append("code from a file was run")
    outcome.faults += [
        f"{path} is gone or changed" for path, what in before.items() if _state([path]).get(path) != what
    ]
    return outcome


def _be_the_command(trial: Trial, log: Path, command: Callable[[Sequence[str]], None]) -> None:
    """In the fork: never returns."""
    status = 1
    try:
        os.setsid()
        faulthandler.disable()  # pytest's writes to pytest's terminal
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        seconds = max(1, int(SECONDS))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.stdout = open(1, "w", closefd=False)
        sys.stderr = open(2, "w", closefd=False)
        try:
            command([str(word) for word in trial.words])
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            if isinstance(ended.code, str):
                print(ended, file=sys.stderr)
        except BaseException:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _call(words: Sequence[str]) -> None:
    """The command that the first word names, but for eugen-view, which opens its page and ends."""
    from importlib.metadata import entry_points

    from eugen_fields.errors import exit_on_input_error

    sys.argv = list(words)
    if words[0] == "eugen-view":
        from unittest import mock

        from eugen_viewer import app, cli

        with mock.patch.object(app.threading.Event, "wait", _end_at_once), exit_on_input_error():
            cli.main()
        return
    (entry,) = (entry for entry in entry_points(group="console_scripts") if entry.name == words[0])
    entry.load()()


def _end_at_once(event: Any, timeout: float | None = None) -> bool:
    """In place of threading.Event.wait: the wait that has no end is Ctrl-C, as a user ends eugen-view."""
    import threading

    if timeout is None and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt
    with event._cond:
        return event._flag or event._cond.wait(timeout)


def judge(status: int | None, output: str) -> list[str]:
    """What is wrong with how a command ended: its exit status, None where it had to be killed, and what it printed."""
    faults = []
    if status is None or status == -signal.SIGXCPU:
        faults.append("no end")
    elif status < 0:
        faults.append(f"signal {-status}")
    if "Traceback (most recent call last)" in output:
        faults.append("a traceback: " + (output.strip().splitlines() or [""])[-1][:200])
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    parser = re.search(r"For full helptext", output) if status == 2 else None  # flags that tyro itself refuses
    if status is not None and status > 0 and parser is None and not faults:
        if not lines:
            faults.append(f"exit status {status} without a line that says why")
        elif len(lines) > 1 or len(lines[0]) > 1500 or lines[0].strip() == "error:":
            faults.append("more than one clear line")
    return faults


def _state(paths: Sequence[Path]) -> dict[Path, str]:
    """What is in files, and in all files of folders."""
    found = {}
    for path in paths:
        for one in sorted(path.rglob("*")) if path.is_dir() and not path.is_symlink() else [path]:
            if one.is_symlink():
                found[one] = f"link to {os.readlink(one)}"
            elif one.is_file():
                found[one] = hashlib.sha256(one.read_bytes()).hexdigest()
    return found
