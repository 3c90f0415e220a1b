"""A trained run in a field file: as few bytes as a loss allows, or as little loss as bytes allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eugen_fields.errors import InputError
from eugen_fields.fields import PlaneField
from eugen_fields.progress import Progress
from eugen_fields.runs import Run, open_run
from eugen_fields.storing import container
from eugen_fields.storing.compression.budget import Budget
from eugen_fields.storing.compression.fidelity import Fidelity
from eugen_fields.storing.draft import check_can_be_stored, draft_of
from eugen_fields.storing.views import find_views
from eugen_fields.writing import check_place

DEFAULT_LOSS = 0.1
"""dB, or centimetres for signed distances."""
_LEAST_LOSS, _MOST_LOSS = 1e-9, 100.0
"""Of --max-loss: below, no difference of two PSNRs can be told from 0; above, nothing is left."""
TUNING_STEPS = 250
_TUNED_FROM = 5
"""Bits from which down --bits is followed by fine-tuning."""


def store_run(
    run: Run | str | Path,
    output: str | Path,
    *,
    bits: int | None = None,
    max_loss: float | None = None,
    max_bytes: int | None = None,
    tune_steps: int | None = None,
    seed: int = 0,
    device: str | None = None,
    step: int | None = None,
    progress: Progress = True,
) -> dict[str, Any]:
    """Writes a run to a field file. The arguments are those of `eugen-export --field`.

    Args:
        run: a path, or a run that is already open (device and step are then not looked at).
        bits, max_loss, max_bytes: at most one of them; none: a max_loss of DEFAULT_LOSS.
        tune_steps: steps of fine-tuning; None: TUNING_STEPS, and none for 6 bits or more, or for fields of planes,
            whose networks, all that is tuned, have hardly lost anything.
        seed: of the places where the field is compared, and of the fine-tuning.
        progress: as in eugen_fields.progress.

    Returns:
        path, bytes, and what was measured: on, psnr_before and psnr_after, or psnr_of_change and why there are no test
        views, or distance_change.

    Raises:
        InputError: a bad option, the run cannot be stored, the goal cannot be met, or the file cannot be written.
    """
    check_options(bits, max_loss, max_bytes, tune_steps)
    path = Path(output).expanduser()
    if path.is_dir():
        raise InputError(f"--field {path} is a folder; name a file in it, for example {path / 'scene.field'}.")
    if isinstance(run, (str, Path)):
        run = open_run(run, device, step)
    check_can_be_stored(run)
    check_place(path, advice=container.OTHER_PLACE)
    if tune_steps is None:
        has_gain = not isinstance(run.field, PlaneField) and (bits is None or bits <= _TUNED_FROM)
        tune_steps = TUNING_STEPS if has_gain else 0
    views = find_views(run)
    draft = draft_of(run, views.cameras)
    fidelity = Fidelity(draft.open(), views, seed, progress)
    budget = Budget(draft, fidelity, seed, progress)
    if bits is not None:
        result = budget.with_bits(bits, tune_steps)
    elif max_bytes is not None:
        result = budget.within_bytes(max_bytes, tune_steps)
    else:
        result = budget.within_loss(DEFAULT_LOSS if max_loss is None else max_loss, tune_steps)
    data = budget.finished(result)
    container.write(path, data)
    facts = {"path": path, "bytes": len(data)} | draft.measured
    return facts | {"why": views.missing} if "psnr_of_change" in facts else facts


def check_options(bits: int | None, max_loss: float | None, max_bytes: int | None, tune_steps: int | None) -> None:
    """Raises InputError where an option is out of range, or two of them exclude each other."""
    given = {"--bits": bits, "--max-loss": max_loss, "--max-bytes": max_bytes}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise InputError(f"{' and '.join(names)} are given; give one of them, each decides the others.")
    if bits is not None and bits not in (4, 5, 6, 8):
        raise InputError(f"--bits is {bits}; it must be 8, 6, 5 or 4.")
    if max_loss is not None and not _LEAST_LOSS <= max_loss <= _MOST_LOSS:  # NaN included
        raise InputError(f"--max-loss is {max_loss:g}; it must be from {_LEAST_LOSS:g} to {_MOST_LOSS:g}.")
    if max_bytes is not None and max_bytes < 1:
        raise InputError(f"--max-bytes is {max_bytes}; it must be a positive number.")
    if tune_steps is not None and tune_steps < 0:
        raise InputError(f"--tune-steps is {tune_steps}; it must be 0 or more.")
