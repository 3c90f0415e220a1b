"""Optimiser settings that depend on the layer kind, and a learning-rate schedule whose state is plain Python."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


@dataclass
class LayerAdamConfig(AdamOptimizerConfig):
    """Adam; where lr is not given, the rate tuned for the kind of layer is taken."""

    _target: type[torch.optim.Optimizer] = torch.optim.Adam
    lr: float = 0.0
    """Learning rate. 0: the rate tuned for the kind of layer."""
    eps: float = 1e-15
    """Added to the denominator. Tiny, so that a network with vanishing gradients still moves."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the running mean and of the running square of the gradient. The short memory of the square (100 steps)
    lets a network leave a plateau that follows large gradients."""
    max_norm: float | None = 1.0
    """Gradients are scaled down to this norm."""
    fused: bool | None = None
    """One kernel steps all parameters. None: on CUDA."""


@dataclass
class LayerAdamWConfig(LayerAdamConfig):
    """The same with decoupled weight decay, as iSDF is trained."""

    _target: type[torch.optim.Optimizer] = torch.optim.AdamW
    eps: float = 1e-8
    """Added to the denominator."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running mean and of the running square of the gradient."""
    weight_decay: float = 0.012
    """Share of each weight, times the learning rate, that a step takes away."""
    max_norm: float | None = None
    """Gradients are scaled down to this norm. None: as they are."""


@dataclass
class WarmupDecayConfig(SchedulerConfig):
    """Linear warm-up, then exponential decay. (Stock schedules put numpy scalars into checkpoints, which torch 2.6 and
    later refuse to load.)"""

    _target: type = field(default_factory=lambda: WarmupDecay)
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    final_factor: float = 0.03
    """Learning rate at the end over that at the beginning."""
    hold: float = 0.0
    """Share of the steps before the decay begins."""
    max_steps: int = 0
    """Step at which the end is reached. 0: the length of the training."""

    def factor(self, step: int, passed: float) -> float:
        """What the learning rate is multiplied by at a step, when a share `passed` of the training is over."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        progress = max(0.0, min(1.0, passed) - self.hold) / (1.0 - self.hold)
        return warm * math.exp(progress * math.log(self.final_factor))


class WarmupDecay(Scheduler):
    """Multiplies the learning rate by min(1, (step + 1) / warmup) * final_factor ** progress, where progress is that
    of the steps after those of `hold`."""

    config: WarmupDecayConfig

    def get_scheduler(self, optimizer: torch.optim.Optimizer, lr_init: float) -> LRScheduler:
        config = self.config

        return LambdaLR(optimizer, lr_lambda=lambda step: config.factor(step, step / max(1, config.max_steps)))
