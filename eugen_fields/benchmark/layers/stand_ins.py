"""Stand-ins for one random dense layer: EUGen, SNNK and low-rank layers of equal size that are trained to copy it.

Each has as many parameters as the EUGen layer, as nearly as whole numbers allow. Two low-rank layers take part: the
linear one, which is the special case of EUGen with Phi = Psi = identity, and the same followed by the activation, which
knows more of what it copies.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers import MLP, EUGenLinear, LowRankLinear, SNNKLinear, transfer
from eugen_fields.layers.activations import get_activation
from eugen_fields.layers.fitting.closed_form import fit_linear
from eugen_fields.layers.fitting.regression import NormalEquations

_FIT_INPUTS = 16_384
_BATCH = 128
_TEST_INPUTS = 4096
_TEST_SEED = 1 << 20
"""Seed of the held-out inputs plus the run's seed: apart from those of training and of the layers."""


def equal_size(kind: str, width: int, num_features: int) -> int:
    """Features or rank at which a layer of `kind` comes nearest to the parameters of an EUGen layer (order 1, norm
    column: m (d + 1) + m l + l). SNNK has the same; a low-rank layer has r (d + l) + l."""
    if not kind.startswith("low-rank"):
        return num_features
    return max(1, round(num_features * (2 * width + 1) / (2 * width)))


def make_layer(kind: str, width: int, num_features: int, activation: str, seed: int) -> nn.Module:
    """A random stand-in for activation(dense): EUGen with the activation as its feature activation and a bias for each
    projection (implicit form), SNNK with the activation's frequencies, or a low-rank layer, linear or followed by the
    activation.

    The layers' own starts are for inputs around 0, and with inputs in [0, 1] they begin several times too large. Here
    output weights start at 0 (but not under an activation, which might then never move), and the biases of the
    projections centre them on the mean input.
    """
    size = equal_size(kind, width, num_features)
    with torch.no_grad():
        if kind == "eugen":
            options = {"norm": False, "projection_bias": True, "feature_activation": activation}
            eugen = EUGenLinear(width, width, num_features=size, seed=seed, **options)
            matrices = eugen.projection_matrices().clone()
            matrices[:, -1] = -0.5 * matrices[:, :-1].sum(dim=1)
            eugen.set_projection_matrices(matrices)
            eugen.weight.zero_()
            return eugen
        if kind == "snnk":
            snnk = SNNKLinear(width, width, num_features=size, activation=activation, seed=seed)
            snnk.weight.zero_()
            return snnk
        low_rank = LowRankLinear(width, width, rank=size, seed=seed)
        if kind == "low-rank":
            low_rank.up.zero_()
            return low_rank
        return nn.Sequential(low_rank, _Activation(get_activation(activation)))


def fit_layer(kind: str, dense: nn.Linear, num_features: int, activation: str, seed: int) -> nn.Module:
    """The closed-form fit to activation(dense) on 16,384 inputs. EUGen: projections picked among neurons and linear
    functions of the inputs."""
    width = dense.in_features
    size = equal_size(kind, width, num_features)
    teacher = MLP(width, 1, width, None, layer="dense", activation=activation).to(dense.weight.device)
    teacher.layers[0] = dense
    generator = torch.Generator(dense.weight.device).manual_seed(2 * _TEST_SEED + seed)
    x = torch.rand(_FIT_INPUTS, width, generator=generator, device=dense.weight.device)
    if kind == "low-rank":
        layer = LowRankLinear(width, width, rank=size, seed=seed).to(x.device)
        equations = NormalEquations(width, width, x.device)
        equations.add(x, teacher(x))
        fit_linear(layer, equations, ridge=1e-6)
        return layer
    options: dict[str, Any] = {"rank": size} if kind.startswith("low-rank") else {"num_features": size}
    if kind == "eugen":
        options["projections"] = "mixed"
    student, _ = transfer(teacher, x, layer=kind.partition(" ")[0], replace=(0,), seed=seed, **options)
    return student.requires_grad_(True)


class _Activation(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def copy_dense_layer(
    activation: str,
    start: str,
    kind: str,
    rate: float,
    seed: int,
    width: int,
    num_features: int,
    steps: int,
    device: str,
) -> dict[str, Any]:
    """Trains one stand-in and measures it on held-out inputs.

    Training is Adam on the squared error, with a tenth of the steps of warm-up and cosine decay to 0.

    Returns:
        relative_error: |y - y'| / |y| over all held-out outputs. spread_error: |y - y'| / |y - mean y|; 1 is what
        the best constant gets, which matters because inputs uniform in [0, 1] have a large mean and so have outputs.
        constant_error: the relative error of that constant. untrained_spread_error: spread_error before training.
        parameters; seconds, of the fit and the training.
    """
    torch.manual_seed(seed)
    dense = nn.Linear(width, width).to(device).requires_grad_(False)
    function = get_activation(activation)
    clock = time.perf_counter()
    if start == "fitted":
        layer = fit_layer(kind, dense, num_features, activation, seed)
    else:
        layer = make_layer(kind, width, num_features, activation, seed).to(device)
    optimizer = torch.optim.Adam(layer.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate_factor(step / steps))
    generator = torch.Generator(device).manual_seed(seed)
    untrained = _errors(layer, dense, function, seed, device)["spread_error"]
    for _ in range(steps):
        x = torch.rand(_BATCH, width, generator=generator, device=device)
        loss = F.mse_loss(layer(x), function(dense(x)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - clock
    return _errors(layer, dense, function, seed, device) | {
        "untrained_spread_error": untrained,
        "parameters": sum(parameter.numel() for parameter in layer.parameters()),
        "seconds": seconds,
    }


@torch.no_grad()
def _errors(
    layer: nn.Module, dense: nn.Linear, function: Callable[[Tensor], Tensor], seed: int, device: str
) -> dict[str, float]:
    """On held-out inputs; the names are those of copy_dense_layer."""
    generator = torch.Generator(device).manual_seed(_TEST_SEED + seed)
    x = torch.rand(_TEST_INPUTS, dense.in_features, generator=generator, device=device)
    y = function(dense(x)).double()
    error, spread, size = (layer(x) - y).norm(), (y - y.mean(dim=0)).norm(), y.norm()
    return {
        "relative_error": float(error / size),
        "spread_error": float(error / spread),
        "constant_error": float(spread / size),
    }


def _rate_factor(progress: float) -> float:
    """Linear warm-up over the first tenth, times cosine decay to 0."""
    return min(1.0, 10.0 * progress + 0.01) * 0.5 * (1.0 + math.cos(math.pi * progress))
