"""Checkpoints that survive a kill: written beside, then renamed; read back with a fall-back to the one before."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from eugen_fields.errors import InputError
from eugen_fields.writing import written_beside

_NAME = re.compile(r"step-(\d+)\.ckpt")

DENSE_START = "dense_start"
"""Entry of a checkpoint's "pipeline" that is there, and True, where the networks are those of the dense start."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """nerfstudio's name for the checkpoint after a step."""
    return folder / f"step-{step:09d}.ckpt"


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of the checkpoints in a folder, oldest first."""
    found = [(int(match[1]), path) for path in folder.glob("step-*.ckpt") if (match := _NAME.fullmatch(path.name))]
    return sorted(found)


def write_checkpoint(state: dict[str, Any], folder: Path, step: int, keep: int | None) -> Path:
    """Writes a checkpoint beside the folder and renames it into place, so that no kill leaves half a file there.

    The unfinished file lies outside the folder because nerfstudio takes the newest name it finds inside.

    Args:
        keep: how many of the newest checkpoints stay; None keeps all.

    Raises:
        InputError: it cannot be written, as where the disk is full.
    """
    path = checkpoint_path(folder, step)
    content = io.BytesIO()  # torch hides why a file could not be written
    torch.save(state, content)
    with written_beside(path, folder=folder.parent, advice="Earlier checkpoints are untouched.") as unfinished:
        unfinished.write_bytes(content.getbuffer())
    if keep is not None:
        for _, old in list_checkpoints(folder)[:-keep]:
            old.unlink(missing_ok=True)
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint as plain tensors and numbers (weights only: no code in it is run).

    Raises:
        InputError: the file is missing, truncated or no checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}.") from None
    except Exception as error:  # torch raises many kinds for damaged files
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"checkpoint {path} is damaged or truncated ({first_line}).") from None
    if not isinstance(state, dict) or not isinstance(state.get("pipeline"), dict) or "step" not in state:
        raise InputError(f"{path} is not a nerfstudio checkpoint.")
    step, weights = state["step"], state["pipeline"]
    if not isinstance(step, int) or not 0 <= step < 1 << 31:
        raise InputError(f"checkpoint {path} is damaged: its step is {str(step)[:40]}, which is no number of steps.")
    odd = [name for name, value in weights.items() if str(name).startswith("_model.") and not _is_weight(value)]
    if odd:
        raise InputError(f"checkpoint {path} is damaged: its {odd[0][:80]} is no tensor of numbers.")
    return state


def _is_weight(value: Any) -> bool:
    """Whether a value is a plain tensor that holds all of its numbers: one that repeats few of them without end would
    fill the memory where it is copied."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def read_newest_checkpoint(folder: Path) -> tuple[dict[str, Any], Path]:
    """The newest checkpoint of a folder that can be read; damaged ones are named and passed over.

    Raises:
        InputError: the folder is missing or holds no readable checkpoint.
    """
    if not folder.is_dir():
        raise InputError(f"there is no checkpoint folder {folder}.")
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        raise InputError(f"{folder} holds no checkpoint (step-NNNNNNNNN.ckpt). Was the run stopped before its first?")
    for _, path in reversed(checkpoints):
        try:
            return read_checkpoint(path), path
        except InputError as error:
            CONSOLE.print(f"[yellow]{error.message} Using the one before it.[/yellow]")
    raise InputError(f"none of the {len(checkpoints)} checkpoints in {folder} can be read.")
