"""The place of a new run: a folder of its own, so that the files of two trainings are never mixed."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

from eugen_fields.errors import InputError
from eugen_fields.runs.checkpoints import list_checkpoints

_TIME = "%Y-%m-%d_%H%M%S"
"""How nerfstudio names runs that are given no name."""


def holds_run(folder: Path, checkpoints: Path) -> bool:
    """Whether there are files of a training in a folder, or checkpoints in its folder of checkpoints."""
    named = any((folder / name).exists() for name in ("config.yml", "dataparser_transforms.json"))
    return named or any(folder.glob("events.out.tfevents.*")) or bool(list_checkpoints(checkpoints))


def check_resume(checkpoints: Path, load_dir: Path | None, load_step: int | None, load_checkpoint: Path | None) -> bool:
    """Whether a training continues the newest checkpoint of a folder of checkpoints, and so may write there.

    Raises:
        InputError: it continues an earlier one of these, so that newer ones would not be of it.
    """
    steps = [step for step, _ in list_checkpoints(checkpoints)]
    if load_checkpoint is not None:
        load_dir, name = load_checkpoint.parent, re.fullmatch(r"step-(\d+)\.ckpt", load_checkpoint.name)
        load_step = int(name[1]) if name else -1
    if load_dir is None or not steps or load_dir.resolve() != checkpoints.resolve():
        return False
    if load_step is not None and load_step != steps[-1]:
        raise InputError(
            f"{checkpoints} has checkpoints up to step {steps[-1]}, with which those of a training from step "
            f"{load_step} would be mixed. Give it another --timestamp, or resume from the newest."
        )
    return True


def later_name(name: str) -> str | None:
    """The name of a run that starts a second later, of one that is named by its time; None: it is named by a person."""
    try:
        return (datetime.strptime(name, _TIME) + timedelta(seconds=1)).strftime(_TIME)
    except ValueError:
        return None


def numbered_name(name: str, taken: Path) -> str:
    """The name, or name-2, name-3, ..., whichever is the first that is not in a folder yet."""
    names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    return next(candidate for candidate in names if not (taken / candidate).exists())
