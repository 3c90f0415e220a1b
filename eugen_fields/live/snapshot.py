"""A model in training as an open run, as it is between two steps."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from eugen_fields.models.radiance import RadianceModel
from eugen_fields.progress import Progress
from eugen_fields.runs import RadianceRun


def snapshot(
    model: RadianceModel,
    folder: Path,
    step: Callable[[], int],
    lock: contextlib.AbstractContextManager[Any] | None = None,
    progress: Progress = False,
) -> RadianceRun:
    """A copy of the folded field with what the search for its surface needs, as an open run whose world is the training
    frame.

    Args:
        folder: the run's folder.
        step: returns the current training step.
        lock: held while weights are copied, and no longer.
        progress: of the search for occupied cells, where the model has no grid; as in eugen_fields.progress.
    """
    with lock or contextlib.nullcontext():
        field, grid, at_step = model.field.folded(), copy.deepcopy(model.grid), step()
    field = field.eval().requires_grad_(False)
    aabb = field.aabb.float().cpu()
    if grid is None:
        grid = model.config.build_grid(aabb).to(field.aabb.device)
        grid.fill(field.density_alone, progress=progress)
    return RadianceRun(
        folder=folder,
        method_name=folder.parent.name,  # nerfstudio: output folder/experiment/method/time
        step=at_step,
        model_config=model.config,
        field=field,
        aabb=aabb,
        world_from_scene=torch.eye(4, dtype=torch.float64),
        grid=grid,
    )
