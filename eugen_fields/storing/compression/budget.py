"""The numbers of a field within a budget: of bits, of bytes or of what may be lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from eugen_fields.errors import InputError
from eugen_fields.progress import Progress, counted
from eugen_fields.storing.compression.allocation import Sensitivity, sensitivity
from eugen_fields.storing.compression.fidelity import Fidelity
from eugen_fields.storing.compression.numbers import StoredNetwork, get_numbers, set_numbers, storable
from eugen_fields.storing.compression.planes import allocated_planes, planes_of_bits
from eugen_fields.storing.compression.quantise import Quantised, quantise
from eugen_fields.storing.compression.rounding import Grid, grid_of_bits
from eugen_fields.storing.compression.targets import Target
from eugen_fields.storing.compression.tuning import tune
from eugen_fields.storing.draft import Draft
from eugen_fields.storing.planes import RoundedPlanes

_FINEST, _COARSEST = 2.0**-22, 2.0**-6
_HALVINGS = 8
_EXPECTED_GAIN = 1.0
"""dB that fine-tuning is expected to gain."""
_ROUNDS, _PLANE_ROUNDS = 4, 6
_NEAR = 0.9
"""Share of the loss that is allowed, from which on no smaller file is looked for."""
_LEAST_OCTAVES, _MOST_OCTAVES = 1.0 / 16, 0.5
"""By which the fineness moves from round to round."""
_PLANE_OCTAVES = 1.0
"""The most for fields of planes. What few rays saw is noise, and without it renders change without becoming worse: the
change says less of the loss than for other fields, and more has to be tried."""
_RESERVE = 8
"""Bytes by which a file may grow when what it costs is written into it, in place of a guess of as many digits."""


@dataclass
class Result:
    """Numbers of a field file."""

    quantised: Quantised
    bytes: int
    """Size of the file, to a few bytes."""
    change: float
    """As in fidelity."""
    grids: dict[str, Grid]
    vector_steps: dict[str, float]
    psnr: float | None = None
    """On the test views, dB, once it was measured."""


class Budget:
    """Makes the numbers of a field as small as a budget wants.

    Args:
        draft: of the run.
        fidelity: of the run.
        seed: of all random choices.
        progress: as in eugen_fields.progress.
    """

    def __init__(self, draft: Draft, fidelity: Fidelity, seed: int, progress: Progress) -> None:
        self._draft, self._fidelity, self._seed, self._progress = draft, fidelity, seed, progress
        self._field: StoredNetwork = draft.open().field
        self._work: StoredNetwork = draft.open().field
        self._planes = {name: value for name, value in draft.numbers.items() if value.dim() == 4}
        self._sensitivity: Sensitivity | None = None
        self._made: dict[float, Result] = {}
        self._tuning_target: Target | None = None
        draft.measured = fidelity.facts(0.012345 if fidelity.is_distance else 50.12, fidelity.before)

    def with_bits(self, bits: int, tune_steps: int) -> Result:
        """All matrices and planes in so many bits."""
        planes = {}
        if self._planes:  # what is never read need not be stored
            matter = self._matter().planes
            planes = {name: planes_of_bits(value, matter[name], bits) for name, value in self._planes.items()}
        result = self._rounded(lambda name, matrix, matter: grid_of_bits(matrix, bits, matter), planes, None)
        return self._tuned(result, tune_steps)

    def within_bytes(self, most: int, tune_steps: int) -> Result:
        """The least change in a file of at most so many bytes.

        Raises:
            InputError: no file is as small; the message names the smallest.
        """
        coarsest = self._allocated(_COARSEST)
        if coarsest.bytes + _RESERVE > most:
            raise InputError(
                f"--max-bytes {most} cannot be reached: the smallest file of {self._draft.source} has "
                f"{coarsest.bytes + _RESERVE:,} bytes. Give more, or train a smaller network."
            )
        limit, fitting = float(most - _RESERVE), []
        for _ in range(_ROUNDS):
            _, fineness = self._halved(lambda result, limit=limit: result.bytes <= limit)
            fitting.append(self._allocated(fineness))
            result = self._tuned(fitting[-1], tune_steps)
            if result.bytes <= most - _RESERVE:
                return result
            limit *= 0.995 * (most - _RESERVE) / result.bytes
        return fitting[0]  # without fine-tuning, which made all of them too large

    def within_loss(self, loss: float, tune_steps: int) -> Result:
        """The smallest file that is found whose loss is at most this.

        Raises:
            InputError: int8 loses more.
        """
        best = self._allocated(_FINEST)
        wanted = self._fidelity.change_for(loss)
        if not self._fidelity.is_within(best.change, wanted):
            unit = "cm" if self._fidelity.is_distance else "dB"
            raise InputError(
                f"--max-loss {loss:g} cannot be reached: int8 costs {self._fidelity.loss_of(best.change):.2g} {unit} "
                f"on {self._draft.source}. Give more."
            )
        limit = self._fidelity.eased(wanted, _EXPECTED_GAIN if tune_steps else 0.0)
        fineness, _ = self._halved(lambda result: not self._fidelity.is_within(result.change, limit))
        good = bad = None
        most_octaves = _PLANE_OCTAVES if self._planes else _MOST_OCTAVES
        for _ in range(_PLANE_ROUNDS if self._planes else _ROUNDS):
            result = self._tuned(self._allocated(fineness), tune_steps)
            lost = self.loss(result)
            if lost <= loss:
                good, best = fineness, min(best, result, key=lambda one: one.bytes)
            else:
                bad = fineness
            if _NEAR * loss <= lost <= loss:
                break
            # a change grows with the square of the fineness
            octaves = min(max(self._fidelity.decibels_between(loss, lost) / 6.0, -most_octaves), most_octaves)
            fineness *= 2.0 ** (octaves if lost <= loss else min(octaves, -_LEAST_OCTAVES))
            if good is not None and bad is not None:
                if bad < good * 2.0**_LEAST_OCTAVES:
                    break
                if not good < fineness < bad:
                    fineness = math.sqrt(good * bad)
        return best

    def loss(self, result: Result) -> float:
        """On the test views, where there are some."""
        if self._fidelity.before is None:
            return self._fidelity.loss_of(result.change)
        return self._fidelity.before - self._psnr(result)

    def _psnr(self, result: Result) -> float:
        if result.psnr is None:
            result.psnr = self._fidelity.psnr(self._draft.open(result.quantised))
        return result.psnr

    def finished(self, result: Result) -> bytes:
        """The bytes of the file, with what it costs in it and in the draft's `measured`."""
        psnr = None if self._fidelity.before is None else self._psnr(result)
        self._draft.measured = self._fidelity.facts(result.change, psnr)
        return self._draft.encode(result.quantised)

    # One number decides all steps

    def _halved(self, is_small: Callable[[Result], bool]) -> tuple[float, float]:
        """Two neighbouring finenesses, found by halving an interval of powers of two: the result of the first is not
        small (or it is the finest there is), that of the second is small (or it is the coarsest)."""
        low, high = math.log2(_FINEST), math.log2(_COARSEST)
        with counted(self._progress, "Choosing precision", _HALVINGS, "round") as advance:
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                low, high = (low, middle) if is_small(self._allocated(2.0**middle)) else (middle, high)
                advance(1)
        return 2.0**low, 2.0**high

    def _allocated(self, fineness: float) -> Result:
        """Every number as fine as it matters; made once for each fineness."""
        if fineness not in self._made:
            found = self._matter()
            steps = {name: found.vector_step(name, fineness) for name in found.vectors}
            planes = {
                name: allocated_planes(value, found.planes[name], fineness) for name, value in self._planes.items()
            }
            grid = partial(found.grid, fineness=fineness)
            self._made[fineness] = self._rounded(lambda name, matrix, _: grid(name, matrix), planes, steps)
        return self._made[fineness]

    def _matter(self) -> Sensitivity:
        """How much each number matters. Planes have many numbers, of which each is read by few rays: they are told
        from more rays, and others than those that changes are measured on."""
        if self._sensitivity is None:
            target = self._many_places() if self._planes else self._fidelity.target
            names = list(self._draft.numbers)
            self._sensitivity = sensitivity(self._field, self._work, target, names, self._seed)
        return self._sensitivity

    def _many_places(self) -> Target:
        if self._tuning_target is None:
            self._tuning_target = self._fidelity.tuning_target(self._seed + 1)
        return self._tuning_target

    def _rounded(
        self, choose: Callable[..., Grid], planes: dict[str, RoundedPlanes], vector_steps: dict[str, float] | None
    ) -> Result:
        """All numbers rounded; vectors to multiples of steps, or as float16 has them."""
        grids: dict[str, Grid] = {}

        def remembered(name: str, matrix: torch.Tensor, matter: torch.Tensor) -> Grid:
            grids[name] = choose(name, matrix, matter)
            return grids[name]

        names = list(self._draft.numbers)
        set_numbers(self._work, {name: get_numbers(self._field, name) for name in names})
        set_numbers(self._work, {name: rounded.values() for name, rounded in planes.items()})
        quantised = quantise(self._field, self._work, self._fidelity.target, remembered)
        quantised.planes = planes
        steps = dict(vector_steps or {})
        for name in set(names) - set(quantised.matrices) - set(planes):
            value = quantised.vectors.get(name, self._draft.numbers[name])
            if vector_steps is None:
                steps[name] = 2.0 ** (math.floor(math.log2(max(float(value.abs().max()), 2.0**-14))) - 10)
            quantised.vectors[name] = storable((value / steps[name]).round() * steps[name])
        return self._result(quantised, grids, steps)

    def _tuned(self, result: Result, steps: int) -> Result:
        """The better one of a result and what fine-tuning makes of it."""
        if steps == 0:
            return result
        target, progress = self._many_places(), self._progress
        start, grids, vector_steps = result.quantised, result.grids, result.vector_steps
        set_numbers(self._work, start.numbers())
        quantised = tune(self._work, start, grids, vector_steps, target, steps, seed=self._seed, progress=progress)
        tuned = self._result(quantised, grids, vector_steps)
        return tuned if self._fidelity.is_within(tuned.change, result.change) else result

    def _result(self, quantised: Quantised, grids: dict[str, Grid], vector_steps: dict[str, float]) -> Result:
        set_numbers(self._work, quantised.numbers())
        change = self._fidelity.change(self._work)
        return Result(quantised, len(self._draft.encode(quantised)), change, grids, vector_steps)
