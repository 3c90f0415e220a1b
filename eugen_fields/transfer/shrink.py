"""A trained dense run shrunk to a number of multiplications, in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eugen_fields.progress import Progress
from eugen_fields.transfer.fit import FieldTransfer
from eugen_fields.transfer.new_run import transfer_run
from eugen_fields.transfer.options import TransferOptions


def shrink(
    run: Path, multiplications: int, finetune_steps: int, *, progress: Progress = False, **options: Any
) -> tuple[Path, FieldTransfer]:
    """Writes a run with at most so many multiplications per sample: those EUGen layers that lose least are fitted in
    closed form, and the whole network is fine-tuned on renders of the trained run.

    Args:
        run: folder of a trained dense run.
        multiplications: of the folded networks, trunk and colour head.
        finetune_steps: 0 for the closed form alone.
        progress: as in eugen_fields.progress.
        options: of TransferOptions, such as output_dir, name, seed and device.

    Returns:
        the folder of the new run, and what became of the field: its multiplications, bytes, seconds and errors.

    Raises:
        InputError: no such run, a run that is no teacher, a bad option, or a budget that no network meets (the message
            names the smallest that can be reached).
    """
    from eugen_fields.methods import METHODS

    asked = TransferOptions(run=run, multiplications=multiplications, finetune_steps=finetune_steps, **options)
    return transfer_run(asked, METHODS, progress=progress)
