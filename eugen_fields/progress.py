"""How a long computation reports its progress: a bar on a terminal, or calls of a function."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Progress = bool | Callable[[str, float], None]
"""How a long computation reports: True shows a bar where there is a terminal, False nothing; a function is called with
what is being done and the share of it that is done, 0 to 1, and may raise to end the computation."""


@contextlib.contextmanager
def counted(progress: Progress, what: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """Context of a loop; yields a function that is to be called with the number of items done since its last call.

    Args:
        what: what is being done, in words for people.
        total: number of items.
        unit: name of an item.
    """
    if isinstance(progress, bool):
        from tqdm import tqdm  # here: a field file is loaded without it

        with tqdm(total=total, desc=what, unit=unit, unit_scale=True, disable=None if progress else True) as bar:
            yield bar.update
        return
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(what, done / total if total else 1.0)

    advance(0)
    yield advance
