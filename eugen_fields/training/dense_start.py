"""The dense start of a training: replaced layers are dense for the first share of the steps, and are then fitted.

What is fitted and how is that of layers.fitting: "EUGens: Efficient, Unified, and General Dense Layers" (Kim et al.,
NeurIPS 2025), layer-wise knowledge transfer without backpropagation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.models.base_model import Model
from torch import Tensor, nn

from eugen_fields.errors import InputError
from eugen_fields.layers import MLP, TransferReport, transfer
from eugen_fields.models.protocols import FieldModel, ModelFlags
from eugen_fields.training.optimizers import take_over_state
from eugen_fields.training.schedule import WarmupDecayLR, take_over_schedule

NUM_POINTS = 30_000
"""Points on training rays that the layers of a network are fitted to."""
_MOST_BATCHES = 200
_WARMUP_STEPS = 20
"""Steps in which the learning rates come back after the fit, since the optimisers know nothing of the new layers."""


def last_dense_steps(share: float, num_steps: int) -> int:
    """Number of dense steps of a training of `num_steps` in all: its share, rounded up; at least one step is left."""
    return min(num_steps - 1, math.ceil(share * num_steps - 1e-9))


def renew_trunks(model: Model, dense: bool) -> None:
    """Gives the networks of a model new trunks: those of the dense start, or else those that its options ask for."""
    config, fields = cast(ModelFlags, model.config), cast(FieldModel, model)
    if dense:
        config = config.dense_phase()
    built = config.build_networks(fields.field.aabb.detach().cpu(), fields.num_train_data)
    for name, network in fields.networks().items():
        if network.trunk.layer != built[name].trunk.layer:
            network.set_trunk(built[name].trunk.to(network.aabb.device).train(network.training))


def fit_trunks(model: Model, next_rays: Callable[[], RayBundle], step: int) -> dict[str, tuple[MLP, TransferReport]]:
    """Replaces the dense trunks of a model by those that its options ask for, fitted in closed form. Parameters of
    layers that stay dense are the same objects afterwards.

    Random numbers follow from the step, and torch's generators are as before.

    Args:
        next_rays: draws a batch of training rays.
        step: of the training, that is next.

    Returns:
        the new trunk and the report of its fit for each network whose layers are others, by name.

    Raises:
        InputError: no fit is found.
    """
    config, fields = cast(ModelFlags, model.config), cast(FieldModel, model)
    devices = [model.device.index or 0] if model.device.type == "cuda" else []
    fitted = {}
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(step)
        wanted = config.build_networks(fields.field.aabb.detach().cpu(), fields.num_train_data)
        networks = {name: network for name, network in fields.networks().items() if wanted[name].trunk.layer != "dense"}
        inputs = draw_inputs(fields, list(networks), next_rays)
        for name, network in networks.items():
            try:
                fitted[name] = _fit(network.trunk, wanted[name].trunk, inputs[name], config.projections, step)
            except ValueError as error:
                raise InputError(f"step {step}: the dense layers of the {name} cannot be fitted: {error}.") from None
    for name, (trunk, _) in fitted.items():
        networks[name].set_trunk(trunk)
    return fitted


def draw_inputs(model: FieldModel, names: list[str], next_rays: Callable[[], RayBundle]) -> dict[str, Tensor]:
    """What the trunks of these networks read at NUM_POINTS points on training rays, (points, encoding width), by
    name; at fewer, where so many batches of rays have no more."""
    read: dict[str, list[Tensor]] = {name: [] for name in names}
    for _ in range(_MOST_BATCHES):
        found = model.trunk_inputs(next_rays())
        for name in names:
            count = min(len(found[name]), NUM_POINTS)
            chosen = torch.randperm(len(found[name]))[:count]
            read[name].append(found[name][chosen.to(found[name].device)])
        if all(sum(map(len, parts)) >= NUM_POINTS for parts in read.values()):
            break
    return {name: torch.cat(parts)[:NUM_POINTS] for name, parts in read.items()}


def _fit(dense: MLP, wanted: MLP, inputs: Tensor, projections: str, seed: int) -> tuple[MLP, TransferReport]:
    options = wanted.layer_options
    trunk, report = transfer(
        dense, inputs, layer=wanted.layer, replace=wanted.replace, projections=projections, seed=seed, **options
    )
    for index, layer in enumerate(dense.layers):
        if index not in trunk.replace:
            trunk.layers[index] = layer
    return trunk, report


def renew_optimizers(
    optimizers: Optimizers, param_groups: Mapping[str, list[nn.Parameter]], rate_factor: float
) -> None:
    """Has optimisers train other parameters: those that stay keep their state, and schedules go on where they are, with
    a short warm-up and at a factor of the learning rates. Groups whose parameters are the same are left alone.

    Args:
        param_groups: of the model, by name.
    """
    for name, params in param_groups.items():
        if [id(parameter) for parameter in params] == [id(parameter) for parameter in optimizers.parameters[name]]:
            continue
        settings, old = optimizers.config[name], optimizers.optimizers[name]
        new = settings["optimizer"].setup(params=params)
        optimizers.optimizers[name], optimizers.parameters[name] = new, params
        if name not in optimizers.schedulers:
            take_over_state(new, old)
            continue
        schedule = settings["scheduler"].setup().get_scheduler(optimizer=new, lr_init=settings["optimizer"].lr)
        take_over_state(new, old)
        take_over_schedule(schedule, optimizers.schedulers[name])
        if isinstance(schedule, WarmupDecayLR):
            schedule.warm_up_again(_WARMUP_STEPS, rate_factor)
        optimizers.schedulers[name] = schedule


def describe(fitted: Mapping[str, tuple[MLP, TransferReport]], step: int) -> str:
    """A sentence that says which layers are of another kind from a step on, and how well they were fitted."""
    parts = []
    for name, (trunk, report) in fitted.items():
        of = "" if name == "field" else f" of the {name}"
        errors = ", ".join(f"{layer.relative_error:.2f}" for layer in report.layers)
        layers = ", ".join(map(str, trunk.replace))
        parts.append(f"layers {layers}{of} are {trunk.layer} layers from now on (relative errors {errors})")
    return f"step {step}: {'; '.join(parts)}"
