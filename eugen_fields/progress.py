"""How far a long computation is: a bar on a terminal, or a message to whoever asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tqdm import tqdm

Progress = bool | Callable[[str, float], None]
"""True: a bar where there is a terminal; False: nothing; or a function that is told what is being done and the share of
it that is done. It may raise to end the computation."""


@contextlib.contextmanager
def counted(progress: Progress, what: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """Around a loop; gives a function that is to be called with how many of the total have been done since.

    Args:
        what: is being done, as people are told.
        unit: of the total.
    """
    if isinstance(progress, bool):
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
