"""A trained run in a field file: as few bytes as a loss allows, or as little loss as bytes allow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from eugen_fields.errors import InputError
from eugen_fields.fields import NeRFField, SDFField
from eugen_fields.progress import Progress, counted
from eugen_fields.runs import Run, open_run
from eugen_fields.storing import container
from eugen_fields.storing.compression.allocation import Sensitivity, sensitivity
from eugen_fields.storing.compression.numbers import StoredNetwork, get_numbers, set_numbers, storable
from eugen_fields.storing.compression.quantise import Quantised, psnr_of, quantise
from eugen_fields.storing.compression.rounding import Grid, grid_of_bits
from eugen_fields.storing.compression.targets import DistanceTarget, RenderTarget, Target
from eugen_fields.storing.compression.tuning import tune
from eugen_fields.storing.draft import Draft, check_can_be_stored, draft_of
from eugen_fields.storing.loading import StoredField
from eugen_fields.storing.views import Views, find_views

DEFAULT_LOSS = 0.1
"""dB, or centimetres for signed distances."""
ASSUMED_PSNR = 36.0
"""dB: what a run without test views is taken to have when a change of its renders is turned into a loss."""
TUNING_STEPS = 250
_TUNED_FROM = 5
"""Bits from which down --bits is followed by fine-tuning."""
_FINEST, _COARSEST = 2.0**-22, 2.0**-6
_HALVINGS = 8
_EXPECTED_GAIN = 1.0
"""dB that fine-tuning is expected to gain."""
_ROUNDS = 4
_NEAR = 0.9
"""Share of the loss that is allowed, from which on no smaller file is looked for."""
_MOST_SLACK = 3.0
_PIXELS, _TUNING_PIXELS, _BATCH_SAMPLES = 16_000, 60_000, 16_384
_POINTS, _TUNING_POINTS, _BATCH_POINTS = 16_384, 65_536, 4_096


@dataclass
class Result:
    """A field file that could be written."""

    quantised: Quantised
    data: bytes
    change: float
    """PSNR of the change of renders, dB, or mean change of distances, metres."""
    grids: dict[str, Grid] = field(default_factory=dict)
    vector_steps: dict[str, float] = field(default_factory=dict)
    psnr: float | None = None
    """On the test views, dB, once it was measured."""


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
        tune_steps: steps of fine-tuning; None: TUNING_STEPS, and none for 6 bits or more.
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
    store = Store(run, seed, progress)
    tune_steps = TUNING_STEPS if tune_steps is None and (bits is None or bits <= _TUNED_FROM) else tune_steps or 0
    if bits is not None:
        result = store.with_bits(bits, tune_steps)
    elif max_bytes is not None:
        result = store.within_bytes(max_bytes, tune_steps)
    else:
        result = store.within_loss(DEFAULT_LOSS if max_loss is None else max_loss, tune_steps)
    data = store.finished(result)
    if max_bytes is not None and len(data) > max_bytes:  # by the few digits of what was measured
        raise InputError(f"--max-bytes {max_bytes} was missed by {len(data) - max_bytes} bytes; give a few more.")
    container.write(path, data)
    facts = {"path": path, "bytes": len(data)} | store.draft.measured
    return facts if store.before is not None or store.is_distance else facts | {"why": store.views.missing}


def check_options(bits: int | None, max_loss: float | None, max_bytes: int | None, tune_steps: int | None) -> None:
    """Raises InputError where an option is out of range, or two of them exclude each other."""
    given = {"--bits": bits, "--max-loss": max_loss, "--max-bytes": max_bytes}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise InputError(f"{' and '.join(names)} are given; give one of them, each decides the others.")
    if bits is not None and bits not in (4, 5, 6, 8):
        raise InputError(f"--bits is {bits}; it must be 8, 6, 5 or 4.")
    if max_loss is not None and not (math.isfinite(max_loss) and max_loss > 0):
        raise InputError(f"--max-loss is {max_loss}; it must be a positive number.")
    if max_bytes is not None and max_bytes < 1:
        raise InputError(f"--max-bytes is {max_bytes}; it must be a positive number.")
    if tune_steps is not None and tune_steps < 0:
        raise InputError(f"--tune-steps is {tune_steps}; it must be 0 or more.")


class Store:
    """A run, what it is held against, and the ways to make it small.

    Args:
        run: one that can be stored.
        seed: of all random choices.
        progress: as in eugen_fields.progress.
    """

    def __init__(self, run: Run, seed: int, progress: Progress) -> None:
        self.run, self.seed, self.progress = run, seed, progress
        self.views: Views = find_views(run)
        self.draft: Draft = draft_of(run, self.views.cameras)
        self.full: StoredField = self.draft.decode(self.draft.encode())
        self.field: StoredNetwork = self.full.field
        self.work: StoredNetwork = self.draft.decode(self.draft.encode()).field
        self.is_distance = isinstance(self.field, SDFField)
        self.target = self._target(_PIXELS, _POINTS, seed)
        self.before = self._psnr(self.full) if self.views.tests else None
        self._sensitivity: Sensitivity | None = None
        self._made: dict[float, Result] = {}
        self._tuning_target: Target | None = None

    def _target(self, num_pixels: int, num_points: int, seed: int) -> Target:
        if self.is_distance:
            return DistanceTarget(self.full, num_points=num_points, batch_points=_BATCH_POINTS, seed=seed)
        rays = [view() for view in self.views.training]
        target = RenderTarget(self.full, rays, num_pixels=num_pixels, batch_samples=_BATCH_SAMPLES, seed=seed)
        if not target.batches:
            raise InputError(f"no camera of {self.run.folder} sees anything of its field. Train longer.")
        return target

    # Ways to make it small

    def with_bits(self, bits: int, tune_steps: int) -> Result:
        """All matrices in so many bits."""
        result = self._rounded(lambda name, matrix, matter: grid_of_bits(matrix, bits, matter), None)
        return self._tuned(result, tune_steps) if tune_steps else result

    def within_bytes(self, most: int, tune_steps: int) -> Result:
        """The least loss in a file of at most so many bytes."""
        most -= self._reserve()
        smallest = self._allocated(_COARSEST)
        if len(smallest.data) > most:
            raise InputError(
                f"--max-bytes {most + self._reserve()} cannot be reached: the smallest file of {self.run.folder} has "
                f"{len(smallest.data) + self._reserve():,} bytes. Give more, or train a smaller network."
            )
        share = 1.0
        for _ in range(_ROUNDS):
            found = self._search(lambda result, share=share: len(result.data) <= share * most, smallest)
            result = self._tuned(found, tune_steps) if tune_steps else found
            if len(result.data) <= most:
                return result if self._is_better(result, found) else found
            share *= 0.995 * most / len(result.data)
        return found

    def within_loss(self, loss: float, tune_steps: int) -> Result:
        """The smallest file whose loss is at most this: dB of PSNR, or centimetres."""
        finest = self._allocated(_FINEST)
        wanted = self._change_of(loss)
        if not self._is_good(finest, wanted):
            raise InputError(
                f"--max-loss {loss:g} cannot be reached: int8 costs {self._loss_of(finest.change):.2g} "
                f"{'cm' if self.is_distance else 'dB'} on {self.run.folder}. Give more."
            )
        best, slack = finest, _EXPECTED_GAIN if tune_steps else 0.0
        for _ in range(_ROUNDS):
            goal = self._eased(wanted, slack)
            found = self._search(lambda result, goal=goal: not self._is_good(result, goal), None, finest)
            result = self._tuned(found, tune_steps) if tune_steps else found
            lost = self._loss(result)
            if lost <= loss and len(result.data) < len(best.data):
                best = result
            if _NEAR * loss <= lost <= loss:
                break
            slack += min(max(self._decibels(loss, lost), -_MOST_SLACK), _MOST_SLACK)
        return best

    def _decibels(self, loss: float, lost: float) -> float:
        """By how much the change may grow (or has to fall) to come from one loss to another."""
        lost = max(lost, 1e-3 * loss)
        if self.is_distance:
            return 20.0 * math.log10(loss / lost)
        return 10.0 * math.log10((10 ** (loss / 10) - 1.0) / (10 ** (lost / 10) - 1.0))

    def _search(self, is_small: Callable[[Result], bool], coarse: Result | None, fine: Result | None = None) -> Result:
        """By halving the interval of the fineness, in powers of two: where `coarse` is given, the finest result that is
        small; else the coarsest that is not, and `fine` is one."""
        low, high = math.log2(_FINEST), math.log2(_COARSEST)
        best = coarse or fine
        assert best is not None
        with counted(self.progress, "Choosing precision", _HALVINGS, "round") as advance:
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                result = self._allocated(2.0**middle)
                small = is_small(result)
                low, high = (low, middle) if small else (middle, high)
                if small == (coarse is not None):
                    best = result
                advance(1)
        return best

    def _allocated(self, fineness: float) -> Result:
        """Every number as fine as it matters; made once for each fineness."""
        if fineness in self._made:
            return self._made[fineness]
        names = list(self.draft.numbers)
        if self._sensitivity is None:
            self._sensitivity = sensitivity(self.field, self.work, self.target, names, self.seed)
        found = self._sensitivity
        steps = {name: found.vector_step(name, fineness) for name in names if name not in self.draft.matrices}
        self._made[fineness] = self._rounded(lambda name, matrix, _: found.grid(name, matrix, fineness), steps)
        return self._made[fineness]

    def _rounded(self, choose: Callable[..., Grid], vector_steps: dict[str, float] | None) -> Result:
        grids: dict[str, Grid] = {}

        def remembered(name: str, matrix: torch.Tensor, matter: torch.Tensor) -> Grid:
            grids[name] = choose(name, matrix, matter)
            return grids[name]

        set_numbers(self.work, {name: get_numbers(self.field, name) for name in self.draft.numbers})
        quantised = quantise(self.field, self.work, self.target, remembered)
        steps = vector_steps or {}
        for name, value in self.draft.numbers.items():
            if name in self.draft.matrices:
                continue
            value = quantised.vectors.get(name, value)
            if vector_steps is None:  # as float16 has them
                steps[name] = 2.0 ** (math.floor(math.log2(max(float(value.abs().max()), 2.0**-14))) - 10)
            quantised.vectors[name] = storable((value / steps[name]).round() * steps[name])
        set_numbers(self.work, quantised.vectors)
        return Result(quantised, self.draft.encode(quantised), self._change(), grids, steps)

    def _tuned(self, result: Result, steps: int) -> Result:
        if self._tuning_target is None:
            self._tuning_target = self._target(_TUNING_PIXELS, _TUNING_POINTS, self.seed + 1)
        set_numbers(self.work, result.quantised.numbers())
        quantised = tune(
            self.work,
            result.quantised,
            result.grids,
            result.vector_steps,
            self._tuning_target,
            steps,
            seed=self.seed,
            progress=self.progress,
        )
        change = self._change()
        tuned = Result(quantised, self.draft.encode(quantised), change, result.grids, result.vector_steps)
        return tuned if self._is_better(tuned, result) else result

    # What it costs

    def _change(self) -> float:
        """Of the numbers that are in place."""
        if isinstance(self.target, DistanceTarget):
            assert isinstance(self.work, SDFField)
            return self.target.change(self.work)
        assert isinstance(self.work, NeRFField)
        return psnr_of(self.target.mean_loss(self.work))

    def _is_better(self, one: Result, other: Result) -> bool:
        return one.change < other.change if self.is_distance else one.change > other.change

    def _is_good(self, result: Result, wanted: float) -> bool:
        return result.change <= wanted if self.is_distance else result.change >= wanted

    def _eased(self, wanted: float, decibels: float) -> float:
        """A change that may be larger by so many dB."""
        return wanted * 10 ** (decibels / 20) if self.is_distance else wanted - decibels

    def _change_of(self, loss: float) -> float:
        """The change that makes a loss: errors of the run and of the file add up as if they had nothing to do with
        each other."""
        if self.is_distance:
            return loss / 100.0
        return (self.before or ASSUMED_PSNR) - 10.0 * math.log10(10 ** (loss / 10) - 1.0)

    def _loss_of(self, change: float) -> float:
        """The inverse of _change_of."""
        if self.is_distance:
            return 100.0 * change
        return 10.0 * math.log10(1.0 + 10 ** (((self.before or ASSUMED_PSNR) - change) / 10))

    def _loss(self, result: Result) -> float:
        """On the test views, where there are some."""
        if self.before is None:
            return self._loss_of(result.change)
        return self.before - self._psnr_of(result)

    def _psnr_of(self, result: Result) -> float:
        if result.psnr is None:
            result.psnr = self._psnr(self.draft.decode(result.data))
        return result.psnr

    @torch.no_grad()
    def _psnr(self, stored: StoredField) -> float:
        """Mean over the test views, dB."""
        background = torch.tensor(stored.scene.background)
        found = []
        with counted(self.progress, "Rendering test views", len(self.views.tests), "view") as advance:
            for view in self.views.tests:
                rays, photo = view()
                truth = photo.view(-1, photo.shape[-1])
                if truth.shape[1] == 4:
                    truth = truth[:, :3] * truth[:, 3:] + (1.0 - truth[:, 3:]) * background
                found.append(psnr_of(float((stored.render_rays(*rays)["rgb"] - truth).square().mean())))
                advance(1)
        return sum(found) / len(found)

    # The file

    def _reserve(self) -> int:
        """Bytes that the file grows by when what was measured is written into it, about."""
        return 64

    def finished(self, result: Result) -> bytes:
        """The bytes of the file, with what it cost in it and in `draft.measured`."""
        if self.is_distance:
            self.draft.measured = {
                "on": "points near seen surfaces",
                "distance_change": round(result.change, 6),
            }
        elif self.before is not None:
            count = len(self.views.tests)
            self.draft.measured = {
                "on": f"{count} test view{'s' if count > 1 else ''}",
                "psnr_before": round(self.before, 3),
                "psnr_after": round(self._psnr_of(result), 3),
            }
        else:
            self.draft.measured = {"on": "the run's own renders", "psnr_of_change": round(result.change, 2)}
        return self.draft.encode(result.quantised)
