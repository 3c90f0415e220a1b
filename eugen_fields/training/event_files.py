"""What nerfstudio writes beside checkpoints where the disk is full: one line says so, and nothing half is left."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nerfstudio.utils import writer

from eugen_fields.errors import InputError, full_disk

PATTERN = "events.out.tfevents.*"


def flush_events() -> None:
    """Has what was logged on disk. Raises OSError where it cannot be written."""
    for event_writer in writer.EVENT_WRITERS:
        if isinstance(event_writer, writer.TensorboardWriter):
            event_writer.tb_writer.flush()


def forget_event_writers() -> None:
    """Ends the logs of earlier trainings of this process; nerfstudio would note the events of later ones there too."""
    for event_writer in writer.EVENT_WRITERS:
        if isinstance(event_writer, writer.TensorboardWriter):
            with suppress(OSError):
                event_writer.tb_writer.close()
    writer.EVENT_WRITERS.clear()
    writer.EVENT_STORAGE.clear()


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns a full disk in a `with` block into an InputError that names the run, without a half event in it.

    TensorBoard writes in a thread, which raises the error once more, as a traceback, beside the one that the training
    gets.

    Args:
        folder: of the run.
    """
    earlier = threading.excepthook

    def quiet(raised: Any) -> None:
        if raised.exc_value is None or full_disk(raised.exc_value) is None:
            earlier(raised)

    threading.excepthook = quiet
    try:
        yield
    except OSError as error:
        if full_disk(error) is None:
            raise
        for path in folder.rglob(PATTERN):
            drop_half_event(path)
        _drop_half_json(folder / "dataparser_transforms.json")
        checkpoint = next(folder.rglob("step-*.ckpt"), None)
        advice = "train again with another --timestamp or --output-dir"
        if checkpoint is not None:
            advice = f"resume with --load-dir {checkpoint.parent}"
        raise InputError(f"cannot write to {folder}: {error.strerror}. Make room and {advice}.") from None
    finally:
        threading.excepthook = earlier


def _drop_half_json(path: Path) -> None:
    """Removes a JSON file, if it is there, that is not whole."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        path.unlink(missing_ok=True)


def drop_half_event(path: Path) -> None:
    """Cuts an event file behind its last whole event; one without any is removed.

    A record is (TFRecord): length of the data, uint64; checksum, 4 bytes; the data; checksum, 4 bytes.
    """
    size, whole = path.stat().st_size, 0
    with path.open("rb+") as file:
        while header := file.read(12):
            end = whole + 16 + (struct.unpack("<Q", header[:8])[0] if len(header) == 12 else size)
            if end > size:
                break
            whole = end
            file.seek(whole)
        file.truncate(whole)
    if not whole:
        path.unlink()
