"""Optimiser settings that depend on the layer kind, and a learning-rate schedule whose state is plain Python."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


@dataclass
class LayerAdamConfig(AdamOptimizerConfig):
    """Adam whose learning rate, where none is given, is the one tuned for the kind of layer."""

    _target: type[torch.optim.Optimizer] = torch.optim.Adam
    lr: float = 0.0
    """Learning rate. 0: the rate tuned for the kind of layer."""
    eps: float = 1e-15
    """Constant added to the denominator. Tiny, so that a network with vanishing gradients still moves."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay rates of the running means of the gradient and of its square. The short memory of the square (100 steps)
    lets a network leave a plateau that follows large gradients."""
    max_norm: float | None = 1.0
    """Largest norm of the gradient; longer ones are scaled down to it."""
    fused: bool | None = None
    """Update all parameters in one kernel. None: where torch has one, on CUDA and on CPUs."""


class PlaneAdam(torch.optim.Adam):
    """Adam for planes in any order in memory. On a CPU torch's fused one copies those that are not contiguous at every
    step, and takes means in another order, as an old checkpoint may have them, for those of other entries."""

    def _init_group(self, group: dict[str, Any], *lists: list[Tensor]) -> bool:
        has_complex = super()._init_group(group, *lists)  # type: ignore[arg-type]
        for tensors in lists[:-1]:  # parameters, gradients and means; the last are numbers of steps
            tensors[:] = [_contiguous_view(tensor) for tensor in tensors]
        return has_complex

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            for name, value in state.items():
                if value.shape == parameter.shape and value.stride() != parameter.stride():
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value).detach()


def _contiguous_view(tensor: Tensor) -> Tensor:
    """A tensor, with its axes in the order of its memory if the channels of its entries are last there."""
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1)
    return tensor


@dataclass
class PlaneAdamConfig(LayerAdamConfig):
    """Adam for feature planes, and for the proposal network that has some: their rate does not depend on the kind of
    layer."""

    _target: type[torch.optim.Optimizer] = PlaneAdam
    lr: float = 0.0
    """Learning rate. 0: 0.01, times --rate-factor."""
    max_norm: float | None = None
    """Largest norm of the gradient; longer ones are scaled down to it. None: no limit."""

    tuned_rate: ClassVar[float] = 1e-2


@dataclass
class LayerAdamWConfig(LayerAdamConfig):
    """Adam with decoupled weight decay (AdamW), as iSDF is trained."""

    _target: type[torch.optim.Optimizer] = torch.optim.AdamW
    eps: float = 1e-8
    """Constant added to the denominator."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of the running means of the gradient and of its square."""
    weight_decay: float = 0.012
    """Weight decay: each step subtracts this share of a weight times the learning rate."""
    max_norm: float | None = None
    """Largest norm of the gradient; longer ones are scaled down to it. None: no limit."""


@dataclass
class WarmupDecayConfig(SchedulerConfig):
    """Linear warm-up, then exponential decay. Its state is plain Python: stock schedules put numpy scalars into
    checkpoints, which torch 2.6 and later refuse to load."""

    _target: type = field(default_factory=lambda: WarmupDecay)
    warmup_steps: int = 100
    """Number of steps of linear warm-up."""
    final_factor: float = 0.03
    """Ratio of the learning rate at the end to the one at the beginning."""
    hold: float = 0.0
    """Share of the training steps before the decay begins, at least 0 and below 1."""
    max_steps: int = 0
    """Step at which the decay ends. 0: the last step of the training."""

    def factor(self, step: int, passed: float) -> float:
        """Factor of the learning rate at a step, when a share `passed` of the training is over."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        decayed = max(0.0, min(1.0, passed) - self.hold) / (1.0 - self.hold)
        return warm * math.exp(decayed * math.log(self.final_factor))


class WarmupDecayLR(LambdaLR):
    """A LambdaLR that can warm up once more; its state has from which step on, and for how many.

    Attributes:
        again_from, again_steps: step that the further warm-up begins at, and its steps; 0: none.
    """

    again_from = 0
    again_steps = 0

    def warm_up_again(self, steps: int, rate_factor: float = 1.0) -> None:
        """Multiplies the learning rates by a factor from now on, and begins with a linear warm-up to them."""
        self.again_from, self.again_steps = self.last_epoch, steps
        self.base_lrs = [rate_factor * rate for rate in self.base_lrs]
        self._last_lr = self._rates()
        for group, rate in zip(self.optimizer.param_groups, self._last_lr):
            group["lr"] = rate

    def get_lr(self) -> list[float]:  # type: ignore[override]
        return self._rates()

    def _rates(self) -> list[Any]:
        """Learning rates of the groups at the step that the schedule has come to."""
        warm = min(1.0, (self.last_epoch - self.again_from + 1) / max(1, self.again_steps))
        return [warm * rate * factor(self.last_epoch) for factor, rate in zip(self.lr_lambdas, self.base_lrs)]


def take_over_schedule(new: LambdaLR, old: LambdaLR) -> None:
    """Has a schedule go on where another with the same settings is, whose groups of parameters may be others."""
    factor = old.base_lrs[0] / old.optimizer.param_groups[0]["initial_lr"]  # a recovery lowers the former alone
    of_groups = ("base_lrs", "lr_lambdas", "_last_lr")
    new.__dict__.update({name: value for name, value in old.state_dict().items() if name not in of_groups})
    new.base_lrs = [factor * group["initial_lr"] for group in new.optimizer.param_groups]
    new._last_lr = [group["lr"] for group in new.optimizer.param_groups]


class WarmupDecay(Scheduler):
    """Multiplies the learning rate by min(1, (step + 1) / warmup) * final_factor ** s, where s is the share of the
    steps after `hold` that are over."""

    config: WarmupDecayConfig

    def get_scheduler(self, optimizer: torch.optim.Optimizer, lr_init: float) -> LRScheduler:
        config = self.config

        return WarmupDecayLR(optimizer, lr_lambda=lambda step: config.factor(step, step / max(1, config.max_steps)))
