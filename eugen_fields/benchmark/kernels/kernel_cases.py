"""The fused kernels that methods use, each beside the same in plain torch and float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.fields import NeRFField, SDFField
from eugen_fields.kernels import FusedDistance, FusedField, FusedMLP
from eugen_fields.layers import fold

Errors = dict[str, float]
LIMITS = {"float16": 4e-3, "bfloat16": 2e-2}
"""How far outputs may be off, relative to their norm: eight roundings of the operands."""
TRAINING_LIMIT = 0.2
"""How far gradients may be off, relative to their norm, with bfloat16 operands: a relu within rounding of 0 may switch,
and its whole gradient with it."""
_BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])
_SHAKE = 0.02
_SMALL_NERF = {"layer_width": 32, "feature_dim": 32, "color_width": 32, "num_layers": 3, "skip_connections": (2,)}
_SMALL_SDF = {"layer_width": 32, "num_layers": 3, "skip_connections": (2,), "position_frequencies": 2}


@dataclass(frozen=True)
class Case:
    """One kernel, or those of a training step."""

    name: str
    dtype: str
    """Type of the operands."""
    group: int
    """Kernels of one group are compiled together: those that take the compiler longest come last."""
    build: Callable[[str, int, bool, int], Prepared]
    """From device, rows, whether it is small, and the seed of the points."""


@dataclass
class Prepared:
    """A case on its device."""

    launch: Callable[[], Any]
    """Runs all of its kernels."""
    errors: Callable[[], Errors]
    """Runs them, and the plain form, and says how far each result is off, relative to its norm."""
    limits: dict[str, float] = field(default_factory=dict)
    """What the errors have to stay below, by their names."""


def cases() -> list[Case]:
    """All of them, the quickest to compile first."""
    found = [
        Case("eugen, m = 32", "float16", 0, partial(_radiance, {"layer": "eugen", "num_features": 32}, "float16")),
        Case("eugen, m = 32", "bfloat16", 0, partial(_radiance, {"layer": "eugen", "num_features": 32}, "bfloat16")),
        Case("eugen, m = 64", "float16", 0, partial(_radiance, {"layer": "eugen", "num_features": 64}, "float16")),
        Case("eugen, m = 64", "bfloat16", 0, partial(_radiance, {"layer": "eugen", "num_features": 64}, "bfloat16")),
        Case("dense", "float16", 1, partial(_radiance, {"layer": "dense"}, "float16")),
        Case("dense", "bfloat16", 1, partial(_radiance, {"layer": "dense"}, "bfloat16")),
        Case("iSDF", "float16", 2, partial(_distance, "float16")),
        Case("prp-hadamard", "bfloat16", 2, partial(_radiance, {"layer": "prp", "matrix": "hadamard"}, "bfloat16")),
    ]
    for group, name, options in ((1, "eugen, m = 64", {"layer": "eugen", "num_features": 64}), (2, "dense", {})):
        options = {"layer": "dense"} | options
        for part in ("trunk", "color_head"):
            build = partial(_training, options, part)
            found.append(Case(f"training, {name}, {part.replace('_', ' ')}", "bfloat16", group, build))
    found.append(Case("training, iSDF", "bfloat16", 2, _distance_training))
    return sorted(found, key=lambda case: case.group)


def relative_error(mine: Tensor, plain: Tensor) -> float:
    """The norm of the difference over that of the plain tensor; NaN where there is one in either."""
    mine, plain = mine.detach().double().cpu(), plain.detach().double().cpu()
    return float((mine - plain).norm() / plain.norm().clamp_min(1e-30))


# Fields and points


def _shaken(network: nn.Module) -> Any:
    """With no parameter left at 0: the biases of an untrained field are."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(_SHAKE * torch.randn(parameter.shape, generator=generator))
    return network


def _nerf(options: dict[str, Any], device: str, small: bool) -> NeRFField:
    torch.manual_seed(0)
    options = options | (_SMALL_NERF if small else {})
    if small and "num_features" in options:
        options = options | {"num_features": max(16, options["num_features"] // 4)}
    return _shaken(NeRFField(_BOX, seed=0, **options)).to(device)


def _sdf(device: str, small: bool) -> SDFField:
    torch.manual_seed(0)
    options: dict[str, Any] = {"layer": "eugen", "replace": (4, 5), "num_features": 128}
    if small:
        options |= _SMALL_SDF | {"replace": (1,), "num_features": 16}
    return _shaken(SDFField(_BOX, seed=0, **options)).to(device)


def _numbers(seed: int, *shape: int) -> Tensor:
    """Uniform in [-1, 1]."""
    return 2.0 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) - 1.0


# What is compared


def _radiance(options: dict[str, Any], dtype: str, device: str, rows: int, small: bool, seed: int) -> Prepared:
    field = _nerf(options, device, small)
    points = _numbers(seed, rows, 3).to(device)
    directions = F.normalize(_numbers(seed + 1, rows, 3), dim=-1).to(device)
    kernel = FusedField(field, getattr(torch, dtype))

    def launch() -> tuple[Tensor, Tensor, Tensor]:
        return (*kernel.density_and_color(points, directions), kernel.density(points))

    @torch.no_grad()
    def errors() -> Errors:
        density, color, alone = launch()
        reference: Any = fold(field).double()
        plain_density, plain_color = reference(points.double(), directions.double())
        unit = field.initial_density
        raw = torch.log(plain_density / unit)
        return {
            "density": relative_error(torch.log(density / unit), raw),
            "colour": relative_error(color, plain_color),
            "density alone": relative_error(torch.log(alone / unit), raw),
            "equal calls": float(not all(map(torch.equal, launch(), (density, color, alone)))),
        }

    limit = LIMITS[dtype]
    return Prepared(launch, errors, {"density": limit, "colour": limit, "density alone": limit, "equal calls": 0.0})


def _distance(dtype: str, device: str, rows: int, small: bool, seed: int) -> Prepared:
    field, points = _sdf(device, small), _numbers(seed, rows, 3).to(device)
    kernel = FusedField(field, getattr(torch, dtype))

    def launch() -> tuple[Tensor, Tensor, Tensor]:
        return (*kernel.sdf_and_gradient(points), kernel.sdf(points))

    def errors() -> Errors:
        distance, gradient, alone = launch()
        reference: Any = fold(field).double()
        plain, plain_gradient = reference.sdf_and_gradient(points.double(), mode="reverse")
        return {
            "distance": relative_error(distance, plain),
            "gradient": relative_error(gradient, plain_gradient),
            "distance alone": relative_error(alone, plain),
        }

    limit = LIMITS[dtype]
    # softplus with a sharpness of 100 has a slope that turns within rounding of 0
    return Prepared(launch, errors, {"distance": limit, "gradient": 5 * limit, "distance alone": limit})


def _training(options: dict[str, Any], part: str, device: str, rows: int, small: bool, seed: int) -> Prepared:
    mlp = getattr(_nerf(options, device, small).train(), part)
    x = _numbers(seed, rows, mlp.in_dim).to(device).requires_grad_(part != "trunk")
    return _compared_training(mlp, FusedMLP(mlp), lambda kernel: (kernel(x),), x, seed)


def _compared_training(
    mlp: nn.Module, kernel: Any, fused: Callable[[Any], Sequence[Tensor]], x: Tensor, seed: int
) -> Prepared:
    plain = copy.deepcopy(mlp).double()
    plain_x = x.detach().double().requires_grad_(x.requires_grad)
    return _training_pair(
        lambda: (fused(kernel), [*([x] if x.requires_grad else []), *_trained(mlp)]),
        lambda: ((plain(plain_x),), [*([plain_x] if x.requires_grad else []), *_trained(plain)]),
        seed,
    )


def _distance_training(device: str, rows: int, small: bool, seed: int) -> Prepared:
    field, points = _sdf(device, small).train(), _numbers(seed, rows, 3).to(device)
    plain, kernel = copy.deepcopy(field).double(), FusedDistance(field)
    return _training_pair(
        lambda: (kernel(points), _trained(field.trunk)),
        lambda: (plain.sdf_and_gradient(points.double(), mode="forward"), _trained(plain.trunk)),
        seed,
    )


Step = Callable[[], tuple[Sequence[Tensor], Sequence[Tensor]]]
"""A forward pass: its outputs, and what gradients are wanted of."""


def _training_pair(fused: Step, plain: Step, seed: int) -> Prepared:
    """A forward and a backward pass: outputs, and all gradients of their product with random numbers, end to end."""

    def passes(step: Step) -> tuple[Sequence[Tensor], Tensor]:
        outputs, wanted = step()
        directions = [_numbers(seed + 2 + at, *output.shape).to(output) for at, output in enumerate(outputs)]
        slopes = torch.autograd.grad(list(outputs), list(wanted), directions, materialize_grads=True)
        return outputs, torch.cat([slope.flatten().double() for slope in slopes])

    def errors() -> Errors:
        (mine, my_slopes), (other, slopes) = passes(fused), passes(plain)
        found = {f"output {at}": relative_error(*pair) for at, pair in enumerate(zip(mine, other), start=1)}
        return found | {"gradients": relative_error(my_slopes, slopes)}

    limits = {f"output {at}": 5 * LIMITS["bfloat16"] for at in (1, 2)} | {"gradients": TRAINING_LIMIT}
    return Prepared(lambda: passes(fused), errors, limits)


def _trained(network: nn.Module) -> list[Tensor]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def within(errors: Errors, limits: dict[str, float]) -> bool:
    """Whether all errors are at most their limits; NaN is not."""
    return all(not math.isnan(error) and error <= limits[name] for name, error in errors.items())
