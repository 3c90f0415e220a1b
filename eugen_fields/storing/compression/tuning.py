"""Fine-tuning of rounded numbers on the run's own renders or distances; no image is read.

Numbers are rounded in the forward pass, and gradients pass the rounding as if it were not there ("Estimating or
Propagating Gradients Through Stochastic Neurons for Conditional Computation", Bengio et al., 2013). Steps stay as they
are, and numbers are trained in units of their steps, so that one learning rate serves all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from eugen_fields.progress import Progress, counted
from eugen_fields.storing.compression.numbers import StoredNetwork, set_numbers, storable
from eugen_fields.storing.compression.quantise import Quantised
from eugen_fields.storing.compression.rounding import Grid
from eugen_fields.storing.compression.targets import Target

LEARNING_RATE = 0.007
"""Steps of the rounding per step of the training, at its start."""


def tune(
    work: StoredNetwork,
    start: Quantised,
    grids: Mapping[str, Grid],
    vector_steps: Mapping[str, float],
    target: Target,
    steps: int,
    *,
    seed: int,
    progress: Progress = False,
) -> Quantised:
    """Trains all numbers of a field but its planes, rounded as they will be stored.

    Args:
        work: a field of the same stages, whose numbers are replaced by the trained ones.
        start: matrices, and all vectors.
        grids: of the matrices.
        vector_steps: what vectors are rounded to multiples of.
        target: what the field is held against, batch by batch.
        steps: of the training.
        seed: of the order of the batches.
        progress: as in eugen_fields.progress.
    """
    latent = {name: rounded.integers.clone() for name, rounded in start.matrices.items()}
    latent |= {name: value / vector_steps[name] for name, value in start.vectors.items()}
    latent = {name: value.requires_grad_(True) for name, value in latent.items()}

    def rounded() -> dict[str, Tensor]:
        values = {}
        for name, value in latent.items():
            nearest = value.round()
            if name in grids:
                nearest = nearest.clamp(-grids[name].largest, grids[name].largest)
            passed = value + (nearest - value).detach()
            values[name] = passed * (grids[name].scales[:, None] if name in grids else vector_steps[name])
        return values

    optimizer = torch.optim.Adam(list(latent.values()), lr=LEARNING_RATE, betas=(0.9, 0.99), eps=1e-15)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    with counted(progress, "Fine-tuning", steps, "step") as advance:
        for _ in range(steps):
            order = order or torch.randperm(len(target.batches), generator=generator).tolist()
            with torch.enable_grad():
                set_numbers(work, rounded())
                loss = target.loss(work, target.batches[order.pop()])  # type: ignore[arg-type]
                gradients = torch.autograd.grad(loss, list(latent.values()), allow_unused=True)
            for value, gradient in zip(latent.values(), gradients):
                value.grad = gradient
            optimizer.step()
            schedule.step()
            advance(1)
    found = Quantised(planes=start.planes)
    with torch.no_grad():
        for name, value in latent.items():
            if name in grids:
                found.matrices[name] = grids[name].rounded(value * grids[name].scales[:, None])
            else:
                found.vectors[name] = storable(value.round() * vector_steps[name])
    set_numbers(work, found.numbers())
    return found
