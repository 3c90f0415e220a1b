"""Files that are whole or not there: written beside their place, then renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eugen_fields.errors import InputError


@contextmanager
def written_beside(path: Path, *, folder: Path | None = None, advice: str = "", new: bool = False) -> Iterator[Path]:
    """Makes a file whole or not at all: a `with` block writes to the path that this gives, which is then renamed.

    If the block fails, or the disk is full, nothing is left of the unfinished file, and a file that was there before is
    as it was.

    Args:
        path: of the file; its folder is made.
        folder: where the unfinished file lies, on the same disk; None: beside the file.
        advice: end of the message where it cannot be written.
        new: the file must not be there yet.

    Raises:
        FileExistsError: it must be new and is there, also where another process has just made it.
        InputError: it cannot be written; the message says why.
    """
    unfinished = (folder or path.parent) / f".unfinished-{os.getpid()}-{path.name}"
    try:
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        if new:
            _rename_to_new(unfinished, path)
        else:
            os.replace(unfinished, path)
    except OSError as error:
        if isinstance(error, FileExistsError) and new and path.is_file():
            raise
        raise InputError(f"cannot write {path}: {error.strerror or error}. {advice}".rstrip()) from None
    finally:
        with suppress(OSError):
            unfinished.unlink()


def check_place(path: Path, *, advice: str = "") -> None:
    """Makes the folder of a file and checks that one can be written there: to be asked before what takes long.

    Args:
        advice: as in written_beside.

    Raises:
        InputError: it cannot be written; the message says why.
    """
    probe = path.parent / f".unfinished-{os.getpid()}-{path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}. {advice}".rstrip()) from None


def _rename_to_new(unfinished: Path, path: Path) -> None:
    """Gives a file its name, unless there is one of that name."""
    try:
        os.link(unfinished, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        path.open("x").close()  # a file system without links
        os.replace(unfinished, path)
