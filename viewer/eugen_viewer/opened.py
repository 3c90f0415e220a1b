"""A run that is shown: its newest weights, replaced while browsers look at it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from eugen_fields.errors import InputError
from eugen_fields.models.isdf import ISDFModel
from eugen_fields.models.radiance import RadianceModel
from eugen_fields.runs import ClassData, Run, checkpoint_folder, open_run, read_config, resolve_device
from eugen_fields.runs.checkpoints import checkpoint_path, list_checkpoints
from eugen_fields.runs.render import build_model
from eugen_fields.storing.opening import open_run_or_file, stored_of


@dataclass(frozen=True)
class Shown:
    """One checkpoint of a run, ready to render."""

    run: Run
    model: RadianceModel | ISDFModel
    checkpoint: Path
    """File of the weights."""

    @property
    def name(self) -> str:
        """Title of the run: method, layer kind and folder."""
        return f"{self.run.method_name} ({self.run.model_config.layer}), {self.run.folder.name}"


class OpenedRun:
    """A run that may still be training; `shown` is its newest checkpoint that could be read.

    Args:
        path: folder of the run, as in open_run, or a field file.
        device: device of the networks, as in open_run.
        step: training step of a checkpoint to stay with; None: follow new ones.

    Raises:
        InputError: as open_run.
    """

    def __init__(self, path: Path, device: str | None = None, step: int | None = None) -> None:
        self._device = resolve_device(device)
        self._step = step
        run = open_run_or_file(path, self._device, step)
        self.folder = run.folder
        self.config: ClassData | None = None if stored_of(run) else read_config(run.folder / "config.yml")
        """What the run's config.yml says; None for a field file, which has none and does not grow."""
        self._checkpoints = None if self.config is None else checkpoint_folder(run.folder, self.config)
        self._seen = self._signature()
        self.shown = self._ready(run)

    def _ready(self, run: Run) -> Shown:
        path = run.folder if self._checkpoints is None else checkpoint_path(self._checkpoints, run.step)
        return Shown(run, build_model(run), path)

    def _signature(self) -> tuple:
        """Names, sizes and times of the checkpoints that are there."""
        found = []
        for step, path in list_checkpoints(self._checkpoints) if self._checkpoints else ():
            try:
                facts = path.stat()
            except OSError:  # the training has just removed it
                continue
            found.append((step, facts.st_size, facts.st_mtime_ns))
        return tuple(found)

    def refresh(self) -> bool:
        """Loads a newer checkpoint and returns whether there was one; damaged and half-written ones are skipped."""
        if self._step is not None:
            return False
        signature = self._signature()
        if signature == self._seen:
            return False
        self._seen = signature
        if not signature or signature[-1][0] <= self.shown.run.step:
            return False
        try:
            run = open_run(self.folder, self._device)
            if run.step == self.shown.run.step:
                return False
            self.shown = self._ready(run)
        except (InputError, RuntimeError, OSError):
            return False
        return True


def scene_from_view(first: Run, other: Run) -> torch.Tensor:
    """Maps points of the first run's training frame, in which everything is shown, to that of another, (4, 4)."""
    return (torch.linalg.inv(other.world_from_scene) @ first.world_from_scene).float()
