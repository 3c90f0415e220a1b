"""Samples of parameter grids in which every pair of values of any two parameters occurs."""

import itertools
import random
from collections.abc import Sequence
from typing import Any


def pairwise(*lists: Sequence[Any], seed: int = 0) -> list[tuple]:
    """Tuples with one value of each list, such that for any two lists every pair of their values is in one of them.

    The number of tuples is near the product of the two longest lists, not of all. Greedy: each tuple starts with a pair
    that is still missing and takes, list by list, the value that adds most missing pairs. Always the same for a seed.

    >>> pairwise("ab", [0, 1], "xy")  # 4 of the 8 combinations
    """
    if len(lists) < 2:
        return [tuple(values) for values in zip(*lists)]
    generator = random.Random(seed)
    missing = {
        ((i, a), (j, b))
        for i, j in itertools.combinations(range(len(lists)), 2)
        for a in range(len(lists[i]))
        for b in range(len(lists[j]))
    }
    chosen: list[tuple] = []
    while missing:
        picked = dict(min(missing))
        others = [index for index in range(len(lists)) if index not in picked]
        generator.shuffle(others)
        for index in others:
            gains = [
                sum(_pair(index, a, *item) in missing for item in picked.items()) for a in range(len(lists[index]))
            ]
            best = [a for a, gain in enumerate(gains) if gain == max(gains)]
            picked[index] = generator.choice(best)
        missing -= {_pair(*one, *other) for one, other in itertools.combinations(picked.items(), 2)}
        chosen.append(tuple(lists[index][picked[index]] for index in range(len(lists))))
    return chosen


def _pair(i: int, a: int, j: int, b: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return ((i, a), (j, b)) if i < j else ((j, b), (i, a))
