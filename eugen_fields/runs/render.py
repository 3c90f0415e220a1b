"""Renders an open run from any camera, by the code of its nerfstudio model."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from eugen_fields.errors import InputError
from eugen_fields.models.isdf import ISDFModel
from eugen_fields.models.proposals.model import ProposalModel
from eugen_fields.models.radiance import RadianceModel
from eugen_fields.runs.open import RadianceRun, Run, SDFRun


def build_model(run: Run) -> RadianceModel | ISDFModel:
    """The model of an open run in its inference form: folded networks (same image to rounding, fewer multiplications).

    Raises:
        InputError: the checkpoint lacks a network that renders need.
    """
    config = copy.deepcopy(run.model_config)
    model = config.setup(scene_box=SceneBox(run.aabb), num_train_data=1)
    if isinstance(run, SDFRun):
        assert isinstance(model, ISDFModel)
        model.field, model.seen = run.field.folded(), run.seen
    else:
        assert isinstance(run, RadianceRun) and isinstance(model, RadianceModel)
        model.field = run.field.folded()
        if model.grid is not None:
            model.grid = run.grid
        if isinstance(model, ProposalModel):
            if run.proposal is None:
                raise InputError(f"the checkpoint of step {run.step} in {run.folder} holds no proposal network.")
            model.proposal = run.proposal.folded()
    return model.to(run.field.aabb.device).eval()


@torch.no_grad()
def render_chunks(model: RadianceModel | ISDFModel, rays: RayBundle, num_rays: int) -> Iterator[dict[str, Tensor]]:
    """Outputs of the rays (in any shape), at most `num_rays` at a time in their order, each (chunk, channels).

    Whoever iterates may stop in between.
    """
    rays = rays.flatten()
    for start in range(0, len(rays), num_rays):
        yield model(rays[start : start + num_rays].to(model.device))
