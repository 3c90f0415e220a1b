"""Muon for matrices and Adam for everything else, as one optimiser of torch and one setting of nerfstudio; and a scaler
of gradients in half precision."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from eugen_fields.training.schedule import LayerAdamConfig

_SMALLEST_SIDE = 4
"""Matrices with a shorter side (densities, colours) are left to Adam: there is little to orthogonalise in them."""
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_RMS = 0.2
"""Root mean square of an Adam update at a rate of 1, to which Muon's are scaled, so that one rate serves both."""


def orthogonalise(matrices: Tensor) -> Tensor:
    """U S' V^T for each U S V^T of a batch of matrices, shape (B, rows, columns), with all S' between 0.7 and 1.2.

    Five quintic Newton-Schulz iterations, as in "Muon: An optimizer for hidden layers in neural networks" (Jordan et
    al., 2024). They run in bfloat16 on CUDA, whose matrix units are made for it, and in float32 on a CPU, since few of
    them are fast in bfloat16.
    """
    a, b, c = _COEFFICIENTS
    rows, columns = matrices.shape[1:]
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    x = x.mT if rows > columns else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-30)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if rows > columns else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are orthogonalised (Jordan et al., 2024), for matrices alone. Matrices of one shape are
    updated together.

    torch.optim.Muon with adjust_lr_fn="match_rms_adamw" computes the same to rounding, one matrix after the other and
    in bfloat16 on every device; the tests hold this class against it.

    Args:
        params: matrices.
        lr: learning rate. A matrix moves by lr * 0.2 * sqrt(max(rows, columns)) in spectral norm ("Muon is Scalable for
            LLM Training", Liu et al., 2025), which is an Adam-like root mean square.
        momentum: decay of the running mean of the gradient; the step looks ahead as Nesterov's does.
        weight_decay: decoupled, as in AdamW.

    Raises:
        ValueError: a parameter is no matrix.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        params = list(params)
        for parameter in params:
            if parameter.dim() != 2:
                raise ValueError(f"a parameter has shape {tuple(parameter.shape)}; Muon takes matrices")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step. With `grad_scale`, a scalar, the gradients are divided by it; where `found_inf` is 1 nothing
        changes. As for torch's fused optimisers, a GradScaler sets both, so that the host need not wait for them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape, parameter.device, parameter.dtype].append(parameter)
            for parameters in alike.values():
                self._step_alike(parameters, **{name: group[name] for name in ("lr", "momentum", "weight_decay")})
        return loss

    def _step_alike(self, parameters: list[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        """One step of parameters of the same shape."""
        gradients, buffers = [], []
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(parameter.grad)
            gradients.append(parameter.grad)
            buffers.append(state["momentum_buffer"])
        gradient, old_mean = torch.stack(gradients), torch.stack(buffers)
        if self.grad_scale is not None:
            gradient = gradient * self.grad_scale.reciprocal()
        mean = old_mean.lerp(gradient, 1.0 - momentum)
        updates = orthogonalise(gradient.lerp(mean, momentum))
        size = lr * _RMS * math.sqrt(max(updates.shape[1:]))
        kept: float | Tensor = 1.0 - lr * weight_decay
        if self.found_inf is not None:
            skipped = self.found_inf > 0
            mean, updates = torch.where(skipped, old_mean, mean), torch.where(skipped, 0.0, updates)
            kept = torch.where(skipped, 1.0, kept)
        for parameter, buffer, new_buffer, update in zip(parameters, buffers, mean, updates):
            buffer.copy_(new_buffer)
            parameter.mul_(kept).sub_(update, alpha=size)


class MuonWithAdam(torch.optim.Optimizer):
    """Muon for matrices, Adam for all other parameters, under one learning-rate schedule.

    Args:
        params: any parameters. Matrices with a side below 4 go to Adam too.
        lr: learning rate of Muon.
        adam_lr: learning rate of Adam; None: lr.
        momentum: as in Muon.
        betas, eps, fused: as in torch.optim.Adam.
        weight_decay: decoupled, of both.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        adam_lr: float | None = None,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-15,
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> None:
        params = list(params)
        matrices = [parameter for parameter in params if is_matrix(parameter)]
        others = [parameter for parameter in params if not is_matrix(parameter)]
        self.parts: dict[str, torch.optim.Optimizer] = {}
        if matrices:
            self.parts["muon"] = Muon(matrices, lr, momentum, weight_decay)
        if others:
            rate = lr if adam_lr is None else adam_lr
            self.parts["adam"] = torch.optim.AdamW(
                others, rate, betas, eps, weight_decay=weight_decay, fused=fused or None
            )
        super().__init__(params, {"lr": lr})
        self._step_supports_amp_scaling = bool(fused)  # as far as Adam's part does
        self._share_groups()

    def _share_groups(self) -> None:
        """The groups are those of the parts, so that schedules reach both."""
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        for part in self.parts.values():  # what a GradScaler sets for the time of a step
            for name in ("grad_scale", "found_inf"):
                setattr(part, name, getattr(self, name, None))
        first, *others = self.parts.values()
        loss = first.step(closure)  # type: ignore[arg-type]
        for part in others:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state of each part, by its name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads what state_dict gave. Raises ValueError for the state of another optimiser."""
        if set(state_dict) != set(self.parts):
            raise ValueError(
                f"the state has parts {', '.join(sorted(map(str, state_dict)))}; this optimiser has "
                f"{', '.join(self.parts)}"
            )
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self._share_groups()


class StepScaler(GradScaler):
    """A GradScaler whose scale is read from the device once a step, however often it is asked for: each time the host
    waits until the device has done all that it was told."""

    _known_scale: float | None = None

    def get_scale(self) -> float:
        if self._known_scale is None:
            self._known_scale = super().get_scale()
        return self._known_scale

    def update(self, new_scale: float | Tensor | None = None) -> None:
        super().update(new_scale)
        self._known_scale = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._known_scale = None


def take_over_state(new: torch.optim.Optimizer, old: torch.optim.Optimizer) -> None:
    """Gives an optimiser the learning rates of another with the same settings, and the state that it has of the
    parameters that both train."""
    if isinstance(new, MuonWithAdam) and isinstance(old, MuonWithAdam):
        for name, part in new.parts.items():
            if name in old.parts:
                take_over_state(part, old.parts[name])
        return
    for group, old_group in zip(new.param_groups, old.param_groups):
        group |= {name: old_group[name] for name in ("lr", "initial_lr") if name in old_group}
        for parameter in group["params"]:
            if parameter in old.state:
                new.state[parameter] = old.state[parameter]


def algorithm_of(state: dict[str, Any]) -> str:
    """Which algorithm of FieldOptimizerConfig a state dict of its optimiser is of: muon or adam."""
    return "adam" if "param_groups" in state else "muon"


def is_matrix(parameter: Tensor) -> bool:
    """Whether a parameter is trained by Muon."""
    return parameter.dim() == 2 and min(parameter.shape) >= _SMALLEST_SIDE


@dataclass
class FieldOptimizerConfig(LayerAdamConfig):
    """Optimiser of a field: Muon for its matrices and Adam for the rest, or Adam alone."""

    _target: type[torch.optim.Optimizer] = MuonWithAdam
    algorithm: Literal["auto", "muon", "adam"] = "auto"
    """Optimiser of the weight matrices. muon: orthogonalised momentum (Jordan et al., 2024), with Adam for vectors and
    for matrices with a side below 4. adam: Adam for all parameters. auto: muon for the tiny NeRF and
    Mip-NeRF-style methods, for which its rates are tuned, and adam elsewhere."""
    lr: float = 0.0
    """Learning rate of matrices. 0: the rate tuned for the kind of layer, the algorithm and the number of steps."""
    adam_lr: float = 0.0
    """Learning rate of the parameters that Adam trains beside Muon. 0: the rate tuned for the kind of layer."""
    momentum: float = 0.95
    """Decay rate of Muon's running mean of the gradient."""

    def setup(self, params: Iterable[Tensor]) -> torch.optim.Optimizer:
        """The optimiser of these parameters; auto means muon here, where nothing is known of the scene."""
        if self.algorithm == "adam":
            return torch.optim.AdamW(
                params, self.lr, self.betas, self.eps, weight_decay=self.weight_decay, fused=self.fused or None
            )
        return MuonWithAdam(
            params, self.lr, self.adam_lr or None, self.momentum, self.betas, self.eps, self.weight_decay, self.fused
        )
