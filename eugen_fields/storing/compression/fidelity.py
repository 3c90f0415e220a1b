"""How near a field file is to its run: on test views with photos, on the run's own renders, or in its distances."""

from __future__ import annotations

import math
from typing import Any

import torch

from eugen_fields.errors import InputError
from eugen_fields.fields import SDFField
from eugen_fields.progress import Progress, counted
from eugen_fields.storing.compression.numbers import StoredNetwork
from eugen_fields.storing.compression.targets import DistanceTarget, RenderTarget, Target
from eugen_fields.storing.loading import StoredField
from eugen_fields.storing.views import Views

ASSUMED_PSNR = 36.0
"""dB: what a run without test views is taken to have when a change of its renders is turned into a loss."""
_PIXELS, _TUNING_PIXELS, _BATCH_SAMPLES = 16_000, 60_000, 16_384
_POINTS, _TUNING_POINTS, _BATCH_POINTS = 16_384, 65_536, 4_096


class Fidelity:
    """Two measures: the *change* of renders (PSNR against the run's own, dB) or of distances (mean, metres), which is
    quick, and the *loss* that it means (PSNR against photos, dB, or the change in centimetres).

    Args:
        full: the run in full precision.
        views: of the run.
        seed: of the places where the change is measured.
        progress: as in eugen_fields.progress.

    Attributes:
        before: mean PSNR of the run on its test views, dB; None without test views.

    Raises:
        InputError: the views show nothing.
    """

    def __init__(self, full: StoredField, views: Views, seed: int, progress: Progress) -> None:
        self._full, self._views, self._progress = full, views, progress
        self.is_distance = isinstance(full.field, SDFField)
        self.target = self._target(_PIXELS, _POINTS, seed)
        self.before = self.psnr(full) if views.tests else None

    def tuning_target(self, seed: int) -> Target:
        """More places, for fine-tuning."""
        return self._target(_TUNING_PIXELS, _TUNING_POINTS, seed)

    def _target(self, num_pixels: int, num_points: int, seed: int) -> Target:
        if self.is_distance:
            return DistanceTarget(self._full, num_points=num_points, batch_points=_BATCH_POINTS, seed=seed)
        views = self._views.training
        target = RenderTarget(self._full, views, num_pixels=num_pixels, batch_samples=_BATCH_SAMPLES, seed=seed)
        if not target.batches:
            raise InputError(f"no camera of {self._full.path} sees anything of its field. Train longer.")
        return target

    def change(self, field: StoredNetwork) -> float:
        """Of a field with other numbers."""
        if isinstance(self.target, DistanceTarget):
            assert isinstance(field, SDFField)
            return self.target.change(field)
        assert not isinstance(field, SDFField)
        return -10.0 * math.log10(max(self.target.mean_loss(field), 1e-12))

    def is_within(self, change: float, limit: float) -> bool:
        """Whether a change is at most as large as another."""
        return change <= limit if self.is_distance else change >= limit

    def eased(self, change: float, decibels: float) -> float:
        """A change that is larger by so many dB."""
        return change * 10 ** (decibels / 20) if self.is_distance else change - decibels

    def change_for(self, loss: float) -> float:
        """The change that means a loss: errors of the run and of the file add up as if they had nothing to do with each
        other."""
        if self.is_distance:
            return loss / 100.0
        return (self.before or ASSUMED_PSNR) - 10.0 * math.log10(_added_error(loss))

    def loss_of(self, change: float) -> float:
        """The inverse of change_for."""
        if self.is_distance:
            return 100.0 * change
        return 10.0 * math.log10(1.0 + 10 ** (((self.before or ASSUMED_PSNR) - change) / 10))

    def decibels_between(self, loss: float, lost: float) -> float:
        """By how much the change may grow (or has to fall, if negative) for `lost` to become `loss`."""
        lost = max(lost, 1e-3 * loss)
        if self.is_distance:
            return 20.0 * math.log10(loss / lost)
        return 10.0 * math.log10(_added_error(loss) / _added_error(lost))

    @torch.no_grad()
    def psnr(self, stored: StoredField) -> float:
        """Mean over the test views, dB."""
        background = torch.tensor(stored.scene.background)
        found = []
        with counted(self._progress, "Rendering test views", len(self._views.tests), "view") as advance:
            for view in self._views.tests:
                rays, photo = view()
                truth = photo.view(-1, photo.shape[-1])
                if truth.shape[1] == 4:
                    truth = truth[:, :3] * truth[:, 3:] + (1.0 - truth[:, 3:]) * background
                error = (stored.render_rays(*rays)["rgb"] - truth).square().mean()
                found.append(-10.0 * math.log10(max(float(error), 1e-12)))
                advance(1)
        return sum(found) / len(found)

    def facts(self, change: float, psnr: float | None) -> dict[str, Any]:
        """What a field file says of how near it is to its run.

        Args:
            change: of the file.
            psnr: of the file on the test views, if there are some.
        """
        if self.is_distance:
            return {"on": "points near seen surfaces", "distance_change": round(change, 6)}
        if self.before is None or psnr is None:
            return {"on": "the run's own renders", "psnr_of_change": round(change, 2)}
        count = len(self._views.tests)
        numbers = {"psnr_before": round(self.before, 3), "psnr_after": round(psnr, 3)}
        return {"on": f"{count} test view{'s' if count > 1 else ''}"} | numbers


def _added_error(loss: float) -> float:
    """The squared error that costs a loss in dB, relative to the one before."""
    return math.expm1(loss * math.log(10.0) / 10.0)
