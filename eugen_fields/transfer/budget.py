"""The layers to replace, and the number of their features, that lose least within a budget.

What a set of layers loses is predicted, not tried: the error of the network's output is measured with each layer
replaced alone, at a few sizes, and the errors of a set are added as squares. What it costs is counted in folded
networks in which one layer, or two neighbours, are new: nothing else interacts when a network folds. All sets and sizes
are compared so in the time of a few dozen closed-form fits, and a larger budget never predicts a larger error.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import nn

from eugen_fields.errors import InputError
from eugen_fields.fields import RadianceField
from eugen_fields.layers import MLP, fold
from eugen_fields.models import summary
from eugen_fields.progress import Progress, counted

MOST_LAYERS = 12
"""Layers of which every subset is looked at."""
_SHOWN = 8
_SHARES = (16, 8, 4, 2, 1)
"""Divisors of the width at which layers are replaced alone, besides a single feature."""

Costs = np.ndarray
"""Multiplications, bytes as trained and bytes folded, shape (3,), or (3, sizes)."""


@dataclass(frozen=True)
class Candidate:
    """A set of layers to replace, with the size at which it meets the budget."""

    replace: tuple[int, ...]
    size: int | None
    """Features, or rank; None for kinds without."""
    multiplications: int
    bytes: int
    predicted_error: float
    """Relative error of the trunk's output in closed form, as predicted."""


@dataclass
class Search:
    """What was looked at on the way to a budget.

    Attributes:
        budget: name of what is bounded: multiplications or bytes.
        limit: the bound.
        candidates: the sets of layers that can meet it, least predicted error first; the first one is taken.
        looked_at: number of sets and sizes that were compared.
    """

    budget: str
    limit: int
    candidates: list[Candidate]
    looked_at: int

    @property
    def taken(self) -> Candidate:
        return self.candidates[0]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, for JSON, of the candidates that the table shows."""
        return asdict(self) | {"candidates": [asdict(candidate) for candidate in self.candidates[:_SHOWN]]}

    def markdown(self) -> str:
        """A table of the best candidates, and a sentence that says what they are."""
        rows = [
            "| layers | features | multiplications | bytes (float16) | predicted error | |",
            "|---|---|---|---|---|---|",
        ]
        rows += [
            f"| {' '.join(map(str, candidate.replace))} | {candidate.size or ''} | {candidate.multiplications:,} "
            f"| {candidate.bytes:,} | {candidate.predicted_error:.4f} | {'taken' if index == 0 else ''} |"
            for index, candidate in enumerate(self.candidates[:_SHOWN])
        ]
        others = len(self.candidates) - _SHOWN
        more = f", {others} more of them not shown" if others > 0 else ""
        return "\n".join(
            [f"{self.looked_at:,} networks compared; each set of layers that meets {self.limit:,} {self.budget}{more}:"]
            + rows
        )


def search(
    field: RadianceField,
    layers: Sequence[int],
    build: Callable[[tuple[int, ...], int | None], MLP],
    error: Callable[[tuple[int, ...], int | None], float],
    *,
    budget: str,
    limit: int,
    largest: int | None,
    progress: Progress = False,
) -> Search:
    """Compares all sets of some layers of a trunk, at all sizes.

    Args:
        field: the trained field, whose trunk is dense.
        layers: that may be replaced.
        build: a trunk in which some layers are new ones of some size; their values do not matter.
        error: relative error of the trunk's output with some layers replaced in closed form.
        budget, limit: as in Search.
        largest: size above which nothing is looked at; None for kinds without a size.
        progress: as in eugen_fields.progress.

    Raises:
        InputError: no set of layers meets the budget, the field meets it as it is, or there are too many layers.
    """
    if len(layers) > MOST_LAYERS:
        raise InputError(
            f"a budget is searched for among at most {MOST_LAYERS} layers, but there are {len(layers)}; name those "
            "that may be replaced with --replace."
        )
    whole = _field_costs(field)
    before = int(_bounded(whole, budget))
    if before <= limit:
        raise InputError(f"--{budget} {limit:,}: the run has no more than {before:,} as it is. Give a smaller budget.")
    sizes = [None] if largest is None else list(range(1, largest + 1))
    costs = _added_costs(field.trunk, layers, build, sizes)
    squares = _squared_errors(layers, error, sizes, progress)
    found, smallest, least = [], None, math.inf
    for count in range(1, len(layers) + 1):
        for replace in itertools.combinations(layers, count):
            total = whole[:, None] + sum(costs[key] for key in costs if set(key) <= set(replace))
            bounded = _bounded(total, budget)
            if bounded.min() < least:
                least = float(bounded.min())
                smallest = Candidate(replace, sizes[int(bounded.argmin())], 0, 0, math.inf)
            meets = bounded <= limit
            if meets.any():
                predicted = np.where(meets, np.sqrt(sum(squares[layer] for layer in replace)), np.inf)
                best = int(predicted.argmin())  # the smallest of equally good sizes
                multiplications, *stored = total[:, best]
                found.append(
                    Candidate(replace, sizes[best], int(multiplications), int(min(stored)), float(predicted[best]))
                )
    found.sort(key=lambda candidate: (candidate.predicted_error, candidate.multiplications))
    kept: list[Candidate] = []
    for candidate in found:
        if len(kept) < _SHOWN:
            # where layers fold in another way from some size on, as norms do, the polynomials are not exact
            candidate = _counted(field, build, candidate)
            if getattr(candidate, budget) > limit:
                continue
        kept.append(candidate)
    if not kept:
        assert smallest is not None
        reached = getattr(_counted(field, build, smallest), budget)
        raise InputError(f"--{budget} {limit:,}: no network meets it; the smallest to be reached has {reached:,}.")
    return Search(budget, limit, kept, (2 ** len(layers) - 1) * len(sizes))


def _counted(
    field: RadianceField, build: Callable[[tuple[int, ...], int | None], MLP], candidate: Candidate
) -> Candidate:
    """A candidate with what it costs when it is built and folded."""
    changed = copy.deepcopy(field)
    changed.set_trunk(build(candidate.replace, candidate.size))
    costs = _field_costs(changed)
    return dataclasses.replace(candidate, multiplications=int(costs[0]), bytes=int(costs[1:].min()))


def float16_bytes(network: nn.Module) -> int:
    """Bytes of the numbers of a network in float16; integers, which are seeds, have 8."""
    return sum(value.numel() * (2 if value.is_floating_point() else 8) for value in network.state_dict().values())


def field_bytes(field: RadianceField) -> int:
    """Bytes of the numbers of a field in float16, trained or folded, whichever are fewer."""
    return int(_bounded(_field_costs(field), "bytes"))


def _bounded(costs: Costs, budget: str) -> np.ndarray:
    return costs[0] if budget == "multiplications" else costs[1:].min(axis=0)


def _field_costs(field: RadianceField) -> Costs:
    folded = fold(field, materialise=False)
    return np.array([summary.multiplications(field), float16_bytes(field), float16_bytes(folded)], float)


def _costs(trunk: MLP) -> Costs:
    folded = fold(trunk)
    stored = float16_bytes(trunk), float16_bytes(fold(trunk, materialise=False))
    return np.array([folded.multiplications(), *stored], float)  # type: ignore[operator]


def _added_costs(
    trunk: MLP,
    layers: Sequence[int],
    build: Callable[[tuple[int, ...], int | None], MLP],
    sizes: Sequence[int | None],
) -> dict[tuple[int, ...], Costs]:
    """What each layer adds to the costs of a trunk when it is replaced, and what each two neighbours add to that when
    both are, shapes (3, sizes). All are polynomials of the second degree in the size, so that three sizes give them."""
    dense, alone = _costs(trunk.with_layers("dense", ())), {}
    known = sizes if len(sizes) <= 3 else [sizes[0], sizes[len(sizes) // 2], sizes[-1]]
    for layer in layers:
        alone[layer,] = _curve([_costs(build((layer,), size)) - dense for size in known], known, sizes)
    pairs = {}
    for pair in itertools.pairwise(layers):
        if pair[1] == pair[0] + 1:
            both = _curve([_costs(build(pair, size)) - dense for size in known], known, sizes)
            pairs[pair] = both - alone[pair[0],] - alone[pair[1],]
    return alone | pairs


def _curve(values: list[Costs], known: Sequence[int | None], sizes: Sequence[int | None]) -> Costs:
    """Values (3,) at known sizes, for all sizes, shape (3, sizes): by Lagrange's polynomial."""
    if len(known) == len(sizes):
        return np.stack(values, axis=1)
    x, at = np.array(known, float), np.array(sizes, float)
    weights = [np.prod([(at - other) / (own - other) for other in x if other != own], axis=0) for own in x]
    return np.round(sum(value[:, None] * weight for value, weight in zip(values, weights)))


def _squared_errors(
    layers: Sequence[int],
    error: Callable[[tuple[int, ...], int | None], float],
    sizes: Sequence[int | None],
    progress: Progress,
) -> dict[int, np.ndarray]:
    """The squared error of each layer replaced alone, for all sizes: measured at some, on straight lines between, and
    nowhere above that of a smaller size."""
    largest = sizes[-1]
    known = [None] if largest is None else sorted({1, *(max(1, largest // share) for share in _SHARES)})
    squares = {}
    with counted(progress, "Trying layers", len(layers) * len(known), "fit") as advance:
        for layer in layers:
            errors = []
            for size in known:
                errors.append(error((layer,), size))
                advance(1)
            lowest = np.minimum.accumulate(errors)
            squares[layer] = lowest**2 if largest is None else np.interp(sizes, known, lowest) ** 2  # type: ignore[arg-type]
    return squares
