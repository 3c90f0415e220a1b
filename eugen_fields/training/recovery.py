"""Trainings that collapse go back to an earlier state and go on at a smaller learning rate."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch.distributed as dist
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.models.base_model import Model
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

CHECK_INTERVAL = 50
"""Steps between checks."""
_SNAPSHOTS_EVERY = 2
"""Checks between two states that are kept."""
_DECAY = 0.96
_HEALTHY, _COLLAPSED, _NOTHING = 0.3, 0.1, 0.05
_PATIENCE = 300
"""Steps after which a training has to explain anything at all."""
_RATE_FACTOR = 0.5
_MOST_RECOVERIES = 5


class Recovery:
    """Watches what share of the colours a field explains (`explained` of RadianceModel's metrics) and restores an
    earlier state of its weights and optimisers, at half the learning rate, when it falls to nothing.

    A field that is empty, or all fog, is seldom trained out of it: its gradients vanish. The state is kept in memory.
    Steps are not counted back.

    Args:
        model, optimizers: of the training.
        first_step: step that the training begins at.
    """

    def __init__(self, model: Model, optimizers: Optimizers, first_step: int) -> None:
        self.count = 0
        """How often an earlier state was restored."""
        self._model, self._optimizers = model, optimizers
        self._first_step = self._since = first_step
        self._mean: Tensor | None = None
        self._weight = 0.0
        self._best = -math.inf
        self._checks = 0
        self.keep(first_step - 1)

    def after_step(self, step: int, explained: Tensor) -> bool:
        """Takes note of a step, and every 50 steps checks the training.

        Args:
            explained: 1 for a batch that is rendered exactly, 0 for one in which the field shows nothing.

        Returns:
            whether an earlier state was restored.
        """
        explained = explained.detach().float().clamp(-1.0, 1.0).nan_to_num(nan=-1.0)
        self._mean = (1.0 - _DECAY) * explained + (_DECAY * self._mean if self._mean is not None else 0.0)
        self._weight = 1.0 - _DECAY * (1.0 - self._weight)
        if (step + 1 - self._first_step) % CHECK_INTERVAL:
            return False
        return self._check(step)

    def _check(self, step: int) -> bool:
        assert self._mean is not None
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(self._mean)
            self._mean /= dist.get_world_size()
        mean = float(self._mean) / self._weight
        self._checks += 1
        fallen = self._best >= _HEALTHY and mean < _COLLAPSED
        stuck = step + 1 - self._since >= _PATIENCE and self._best < _HEALTHY and mean < _NOTHING
        if (fallen or stuck) and self.count < _MOST_RECOVERIES:
            self._restore(step)
            return True
        if mean >= max(self._best - 0.1, _HEALTHY) and self._checks % _SNAPSHOTS_EVERY == 0:
            self.keep(step)
        self._best = max(self._best, mean)
        return False

    def keep(self, step: int) -> None:
        """Makes the state as it is, after a step, the one to restore; to be called where the networks are others than
        those before."""
        self._kept_step = step
        self._kept: tuple[dict[str, Any], dict[str, Any]] = copy.deepcopy(
            (
                self._model.state_dict(),
                {name: optimizer.state_dict() for name, optimizer in self._optimizers.optimizers.items()},
            )
        )

    def _restore(self, step: int) -> None:
        weights, states = self._kept
        self._model.load_state_dict(weights)
        self.count += 1
        for name, optimizer in self._optimizers.optimizers.items():
            rates = [group["lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(copy.deepcopy(states[name]))
            scheduler = self._optimizers.schedulers.get(name)
            if isinstance(scheduler, LambdaLR):
                scheduler.base_lrs = [_RATE_FACTOR * rate for rate in scheduler.base_lrs]
            for group, rate in zip(optimizer.param_groups, rates):
                group["lr"] = _RATE_FACTOR * rate
        self._mean, self._weight, self._best, self._since = None, 0.0, -math.inf, step + 1
        earlier = "its beginning" if self._kept_step < self._first_step else f"its state after step {self._kept_step}"
        CONSOLE.print(
            f"step {step}: the field shows nothing of the images any more. Training goes back to {earlier}, "
            f"at {_RATE_FACTOR**self.count:g} of the learning rate."
        )
