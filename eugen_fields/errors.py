"""The one exception for bad input, and how commands end on it: a clear message on stderr, not a traceback."""

from __future__ import annotations

import contextlib
import errno
import functools
import re
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any


class InputError(ValueError):
    """Bad input from a person. The message says what was found, where, and what would do.

    Attributes:
        message: the same text as str(error), without the "error: " that commands put before it.
    """

    def __init__(self, message: str) -> None:
        message = _shortened(message)
        super().__init__(message)
        self.message = message


_LONGEST_WORD, _LONGEST_MESSAGE = 300, 3000


def _shortened(message: str) -> str:
    """A message without what a damaged file may hold at any length: no word of more than 300 characters (no name in a
    path has as many), no more than 3,000 in all. Its end, which says what would do, stays."""
    message = re.sub(
        rf"[^\s/]{{{_LONGEST_WORD + 1},}}",
        lambda word: f"{word[0][:40]}... ({len(word[0])} characters) ...{word[0][-20:]}",
        message,
    )
    if len(message) <= _LONGEST_MESSAGE:
        return message
    return f"{message[: _LONGEST_MESSAGE // 2]} ... ({len(message)} characters) ... {message[-_LONGEST_MESSAGE // 4 :]}"


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def full_disk(error: BaseException) -> InputError | None:
    """An error of the operating system about a disk that is full or cannot be written to, or about a name that no disk
    holds, as one that says so; None for all other errors."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return InputError(f"{error.filename or 'a name'}: {error.strerror}. Give a shorter name.")
    if not isinstance(error, OSError) or error.errno not in _NO_ROOM:
        return None
    return InputError(f"cannot write {error.filename or 'a file'}: {error.strerror}. Make room, or write elsewhere.")


@contextlib.contextmanager
def exit_on_input_error() -> Iterator[None]:
    """Around the main function of a command, or as its decorator: an InputError, or a full disk, ends the process with
    exit status 1 and the line `error: MESSAGE` on stderr."""
    try:
        yield
    except (InputError, OSError) as error:
        found = error if isinstance(error, InputError) else full_disk(error)
        if found is None:
            raise
        raise SystemExit(f"error: {found.message}") from None


def report_uncaught_input_errors() -> None:
    """Has Python print an InputError, or a full disk, that nobody catches as the line `error: MESSAGE` instead of a
    traceback; the exit status is 1, as for every uncaught exception.

    For the commands of nerfstudio, whose main functions are not ours: what they construct of ours calls this. Python
    and notebooks that call the same code can still catch the InputError.
    """
    hook = sys.excepthook
    if not (isinstance(hook, functools.partial) and hook.func is _report):
        sys.excepthook = functools.partial(_report, hook)


def _report(
    others: Callable[..., Any], kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    found = error if isinstance(error, InputError) else full_disk(error)
    if found is not None:
        print(f"error: {found.message}", file=sys.stderr)
    else:
        others(kind, error, traceback)


def show_number(value: float) -> str:
    """A number as messages show it, however many digits it has."""
    text = str(value)
    return text if len(text) <= 24 else f"{text[:6]}... ({len(text)} characters)"


def describe(error: BaseException) -> str:
    """What went wrong, for a page."""
    return error.message if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
