"""The files of every number format that hold the field of one trained run."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from eugen_fields.benchmark.common.scoring import Scorer
from eugen_fields.benchmark.quality.stored_fields import NumberFormat, compact, read_field, write_field
from eugen_fields.fields import RadianceField
from eugen_fields.layers.folding.folded import FoldedMLP
from eugen_fields.methods import METHODS
from eugen_fields.runs import RadianceRun, open_run, read_config
from eugen_fields.runs.restore import restore_config


class FieldFiles:
    """Writes the field of a run into files, reads them back and scores them; the run is opened when it is needed.

    Args:
        folder: of the run, in which the files go.
        method: that trained it.
        device: None takes CUDA if there is one.
        views: test views, evenly spread; 0 takes all.
    """

    def __init__(self, folder: Path, method: str, device: str | None, views: int) -> None:
        self._folder, self._method, self._device, self._views = folder, method, device, views

    @cached_property
    def _run(self) -> RadianceRun:
        run = open_run(self._folder, self._device)
        assert isinstance(run, RadianceRun)
        return run

    @cached_property
    def _scorer(self) -> Scorer:
        path = self._folder / "config.yml"
        return Scorer(self._run, restore_config(read_config(path), self._method, path, METHODS), self._views)

    @cached_property
    def _form(self) -> RadianceField:
        return compact(self._run.field)

    def measure(self, number_format: NumberFormat) -> dict[str, Any]:
        """The bytes of a file of this number format, the numbers in it, and what the field that is read back scores."""
        form, path = self._form, self._folder / f"field_{number_format}.npy"
        size = write_field(form, path, number_format)
        scores = self._scorer.score(read_field(form, path, number_format), own_grid=True)
        folded = any(isinstance(module, FoldedMLP) for module in form.modules())
        return {
            "bytes": size,
            "numbers": sum(value.numel() for value in form.state_dict().values()),
            "form": "folded" if folded else "trained",
            "psnr": scores["psnr"],
            "ssim": scores["ssim"],
            "file": str(path),
        }
