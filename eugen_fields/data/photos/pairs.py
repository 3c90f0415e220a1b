"""Which photos are compared with which."""

from __future__ import annotations

import itertools

EXHAUSTIVE = 100
"""Most photos of which each is compared with every other one."""
_NEIGHBOURS = 10
_LANDMARK_EVERY = 8


def photo_pairs(count: int, exhaustive: int = EXHAUSTIVE) -> list[tuple[int, int]]:
    """Pairs of photos, first < second, each once and in order.

    Few photos are all compared. Of many, which were taken one after the other, each is compared with the 10 that
    follow it and with those 16, 32, 64, ... places on; every eighth photo is compared with every other eighth one, so
    that a walk which comes back to where it began is closed.

    Args:
        count: number of photos, in the order in which they were taken.
        exhaustive: most photos of which all are compared.
    """
    if count <= exhaustive:
        return list(itertools.combinations(range(count), 2))
    steps = [*range(1, _NEIGHBOURS + 1), *(2**power for power in range(4, count.bit_length()))]
    near = {(first, first + step) for first in range(count) for step in steps if first + step < count}
    far = itertools.combinations(range(0, count, _LANDMARK_EVERY), 2)
    return sorted(near.union(far))
