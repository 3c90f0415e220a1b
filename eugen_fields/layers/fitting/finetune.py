"""A student compared with its teacher, and trained to imitate it."""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from eugen_fields.layers.fitting.recording import Stream, as_rows, evaluation_mode
from eugen_fields.layers.fitting.regression import NormalEquations

ShowProgress = Callable[[Iterable], Iterable]
"""Wraps an iterable to show its progress, as tqdm does."""

WARM_UP = 0.05
"""Share of the steps in which the learning rate rises; it then falls along a cosine."""


def distill(
    teacher: nn.Module,
    student: nn.Module,
    trained: Sequence[nn.Parameter],
    batches: Stream,
    steps: int,
    *,
    learning_rate: float,
    batch_size: int,
    seed: int,
    progress: ShowProgress | None,
) -> None:
    """Adam on the `trained` parameters of the student: Huber loss between both outputs, each divided by its spread.

    The Huber loss on the outputs, weights and bias trained together, is what does best in "EUGens: Efficient, Unified,
    and General Dense Layers" (arXiv 2410.09771); there it is taken layer by layer.
    """
    spread = _outputs(teacher, student, batches).target_variance().sqrt()
    # outputs that hardly vary would otherwise outweigh the others
    spread = spread.clamp(min=1e-3 * float(spread.max())) if bool((spread > 0.0).any()) else torch.ones_like(spread)
    optimizer = torch.optim.Adam(trained, lr=learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    minibatches = batches.minibatches(batch_size, torch.Generator().manual_seed(seed))
    with evaluation_mode(teacher), evaluation_mode(student), torch.enable_grad():
        for _ in progress(range(steps)) if progress else range(steps):
            batch, weights = next(minibatches)
            with torch.no_grad():
                target, weights = as_rows(teacher(batch), weights)
            output, scale = student(batch).flatten(0, -2), spread.to(target)
            losses = F.huber_loss(output / scale, target / scale, reduction="none").mean(dim=-1)
            loss = losses.mean() if weights is None else (losses * weights).sum() / weights.sum().clamp(min=1e-12)
            for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained)):
                parameter.grad = gradient
            optimizer.step()
            schedule.step()
    optimizer.zero_grad()


def learning_rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, then cosine decay to 0; for any number of steps from 1."""
    return min(1.0, (step + 1) / (WARM_UP * steps)) * 0.5 * (1.0 + math.cos(math.pi * step / steps))


@torch.no_grad()
def output_error(teacher: nn.Module, student: nn.Module, batches: Stream) -> tuple[float, int]:
    """|student - teacher| over |teacher - its mean|, both over all outputs and samples, and the number of samples of
    positive weight."""
    outputs = _outputs(teacher, student, batches)
    same = torch.eye(outputs.num_features, dtype=torch.float64, device=outputs.gram.device)
    return outputs.relative_error(same, torch.zeros_like(same[0])), outputs.count


@torch.no_grad()
def _outputs(teacher: nn.Module, student: nn.Module, batches: Stream) -> NormalEquations:
    """Moments of the outputs: the student's as features, the teacher's as targets."""
    moments = None
    with evaluation_mode(teacher), evaluation_mode(student):
        for batch, weights in batches:
            target, row_weights = as_rows(teacher(batch), weights)
            output, _ = as_rows(student(batch), None)
            if moments is None:
                moments = NormalEquations(output.shape[-1], target.shape[-1], target.device, name="the outputs")
            moments.add(output, target, row_weights)
    assert moments is not None  # a stream yields at least one batch
    return moments
