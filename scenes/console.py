"""How the scene commands fail: one line on standard error and a non-zero exit, never a traceback."""

import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path


class SceneError(Exception):
    """A failure the user can act on: the message says what was found and how to correct it."""


@contextmanager
def reporting(what: str, path: Path):
    """Turn an OSError on `path` into a SceneError that begins with `what` and names the file."""
    try:
        yield
    except OSError as error:
        raise SceneError(f"{what} {path}: {error.strerror or error}") from error


def run(command: Callable[[], None]) -> None:
    """Run `command`; exit 1 with its message if it fails, 130 if it is interrupted."""
    try:
        command()
    except SceneError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("interrupted; finished images are kept", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader, such as `head`, has enough; leave nothing for the interpreter to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
