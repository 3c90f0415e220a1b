"""Which way networks are evaluated: by fused kernels where these serve and prove right, else in plain torch."""

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from eugen_fields.encodings import FrequencyEncoding
from eugen_fields.kernels.distance import FusedDistance
from eugen_fields.kernels.field import FusedField
from eugen_fields.kernels.mlp import FusedMLP
from eugen_fields.kernels.run.launch import LARGE_BATCH, compiled_together
from eugen_fields.kernels.tiny_cuda import TinyCudaEncoding, TinyCudaMLP
from eugen_fields.kernels.unsupported import Unsupported
from eugen_fields.layers import MLP

Backend = Literal["auto", "torch", "fused", "tcnn"]
Kernel = TypeVar("Kernel", FusedField, FusedMLP, FusedDistance, TinyCudaMLP, TinyCudaEncoding)
DEVICES = ("cuda",)
"""Kinds of device on which kernels are worth their while. (Tests add the CPU, where Triton's interpreter runs them.)"""
CHECKED_POINTS = 256
"""Random points on which a kernel is compared with torch."""
TRUSTED_CALLS = 100
"""How many kernels of fields are made from sources that proved right before one is compared with torch again."""
_TOLERANCE = 0.05
_logger = logging.getLogger(__name__)
_trusted: dict[tuple[object, ...], int] = {}
"""How many kernels may still be made without a comparison, by device and sources."""


def fused_field(field: nn.Module, backend: Backend) -> FusedField | None:
    """The kernel, with float16 operands, in place of a folded field; None where plain torch has to do.

    It is tried on random points of the scene box and taken only if it agrees with plain torch: densities and distances
    to 5 %, colours to 0.05. A faulty driver, or a value beyond float16, then costs speed and not the picture. Fields
    are folded for every frame, and the comparison takes longer than a small frame: of the next TRUSTED_CALLS kernels
    from the same sources only values on those points have to be finite, as others show where float16 overflows. Why
    there is no kernel is logged, once for each reason: with "auto" on GPUs alone, with "fused" everywhere.

    Args:
        field: a NeRFField or SDFField; others have no kernel yet.
    """
    if not _wanted(field, backend):
        return None

    def difference(kernel: FusedField) -> float:
        if _trusted.get(_identity(kernel), 0) > 0:
            return 0.0 if _is_finite(field, kernel) else math.nan
        return _largest([_field_difference(field, kernel, count) for count in _counts(field)])

    kernel = _checked(lambda: FusedField(field, torch.float16), difference, "evaluated")
    if kernel is not None:
        left = _trusted.get(_identity(kernel), 0)
        _trusted[_identity(kernel)] = left - 1 if left > 0 else TRUSTED_CALLS
    return kernel


def _identity(kernel: FusedField) -> tuple[object, ...]:
    return kernel.device, *kernel.sources().values()


def fused_training(mlp: MLP, backend: Backend, *, input_gradient: bool = True) -> FusedMLP | None:
    """The kernels, with bfloat16 operands, that an MLP is trained by with the backend "fused"; None where plain torch
    has to do. Checked as in `fused_field` on random inputs: outputs to 5 %, gradients to 25 % in norm, because rounding
    can flip a ReLU. `input_gradient`: also that of the input."""
    if backend != "fused" or not _wanted(mlp, backend):
        return None

    def difference(kernel: FusedMLP, count: int) -> float:
        x = _normal(count, mlp.in_dim, mlp).requires_grad_(input_gradient)
        wanted = [*([x] if input_gradient else []), *_trained(mlp)]
        return _training_difference(mlp, lambda: (kernel(x),), lambda: (mlp(x),), wanted)

    return _checked(
        lambda: FusedMLP(mlp),
        lambda kernel: _largest([difference(kernel, count) for count in _counts(mlp)]),
        "trained",
    )


def fused_distance_training(field: Any, backend: Backend) -> FusedDistance | None:
    """The kernels, with bfloat16 operands, that an SDFField is trained by on losses on distance and gradient with the
    backend "fused"; None where plain torch has to do. Checked as in `fused_training`."""
    if backend != "fused" or not _wanted(field, backend):
        return None

    def difference(kernel: FusedDistance, count: int) -> float:
        points = _points_in(field.aabb, count)
        plain = functools.partial(field.sdf_and_gradient, points, mode="forward")
        return _training_difference(field.trunk, lambda: kernel(points), plain, _trained(field.trunk))

    return _checked(
        lambda: FusedDistance(field),
        lambda kernel: _largest([difference(kernel, count) for count in _counts(field)]),
        "trained",
    )


def tiny_cuda_network(mlp: MLP, backend: Backend) -> TinyCudaMLP | None:
    """tiny-cuda-nn in place of an MLP, in training and evaluation; None where plain torch has to do. Checked as in
    `fused_training`, on weights alone: it has no biases."""
    if backend != "tcnn" or not _wanted(mlp, backend):
        return None
    x = _normal(CHECKED_POINTS, mlp.in_dim, mlp)
    weights = [parameter for parameter in _trained(mlp) if parameter.dim() > 1]
    return _checked(
        lambda: TinyCudaMLP(mlp),
        lambda network: _training_difference(mlp, lambda: (network(x),), lambda: (mlp(x),), weights),
        "evaluated",
        "tiny-cuda-nn",
    )


def tiny_cuda_encoding(encoding: FrequencyEncoding, backend: Backend) -> TinyCudaEncoding | None:
    """tiny-cuda-nn in place of an encoding; None where plain torch has to do. Checked to 0.05: its sines of the highest
    octaves are rougher."""
    if backend != "tcnn" or not _wanted(encoding, backend) or encoding.num_frequencies == 0:
        return None
    x = 2.0 * torch.rand(CHECKED_POINTS, encoding.in_dim, generator=torch.Generator().manual_seed(0)) - 1.0
    x = x.to(encoding.scales.device)
    return _checked(
        lambda: TinyCudaEncoding(encoding),
        lambda network: float((network(x) - encoding(x)).abs().max()),
        "evaluated",
        "tiny-cuda-nn",
    )


def _wanted(network: nn.Module, backend: Backend) -> bool:
    device = _device(network).type
    if backend in ("fused", "tcnn") and device not in DEVICES:
        say_once(f"backend {backend} wants a CUDA device, and this network is on the {device}; it stays in torch.")
    return backend != "torch" and device in DEVICES


def _device(network: nn.Module) -> torch.device:
    return next(value.device for value in (*network.parameters(), *network.buffers()))


def _checked(
    make: Callable[[], Kernel],
    difference: Callable[[Kernel], float],
    done: str,
    what: str = "a fused kernel",
) -> Kernel | None:
    """A kernel that proved right; None, and a line that says why, where the network is unsupported, or the kernel
    cannot be made or run, or computes something else. `done` is what torch does in its place."""
    try:
        kernel = make()
        with compiled_together() as compiled:
            found = difference(kernel)
        if compiled:  # and not launched
            found = difference(kernel)
        if found <= _TOLERANCE:
            return kernel
        reason = f"{what} is off by {found:.2g} on test points, more than {_TOLERANCE}"
    except Unsupported as error:
        reason = str(error)
    except Exception as error:  # of whatever kind a compiler or driver has: torch can still do the work
        first_line = (str(error).strip() or "no message").splitlines()[0]
        reason = f"{what} failed ({type(error).__name__}: {first_line})"
    say_once(f"{reason}; it is {done} in plain torch.")
    return None


def _counts(network: nn.Module) -> tuple[int, ...]:
    """Sizes of the batches on which the kernels of a network are compared with torch. On a GPU the tiles of large
    batches are chosen apart, by their time: this does it before the clock of a training runs."""
    return (CHECKED_POINTS, LARGE_BATCH) if _device(network).type == "cuda" else (CHECKED_POINTS,)


def _largest(values: Sequence[float]) -> float:
    """The largest of some numbers; NaN if one is."""
    return float(torch.tensor(values).max())


@torch.no_grad()
def _is_finite(field: Any, kernel: FusedField) -> bool:
    """Whether all values are on test points; a value that float16 does not hold is infinite, and makes others NaN."""
    points = _points_in(field.aabb)
    if kernel.is_distance:
        values = [kernel.sdf(points), *kernel.sdf_and_gradient(points)]
    else:
        values = [kernel.density(points), *kernel.density_and_color(points, torch.nn.functional.normalize(points))]
    return bool(torch.cat([value.flatten() for value in values]).isfinite().all())


@torch.no_grad()
def _field_difference(field: Any, kernel: FusedField, count: int) -> float:
    """The largest difference: of densities, relative to themselves and the untrained one; of colours; of distances,
    relative to themselves and a unit of the network, and of their gradients. NaN if there is one anywhere."""
    points = _points_in(field.aabb, count)
    if kernel.is_distance:
        distance, gradient = field.sdf_and_gradient(points, mode="forward")
        fused_distance, fused_gradient = kernel.sdf_and_gradient(points)
        off = [_relative(mine, distance, field.output_scale) for mine in (fused_distance, kernel.sdf(points))]
        return float(torch.cat([*off, _relative(fused_gradient, gradient, 1.0).flatten()]).max())
    directions = torch.nn.functional.normalize(_normal(len(points), 3, field), dim=-1)
    density, features = field.density(points)
    fused_density, fused_color = kernel.density_and_color(points, directions)
    off = [_relative(mine, density, field.initial_density) for mine in (fused_density, kernel.density(points))]
    return float(torch.cat([*off, (fused_color - field.color(features, directions)).abs().flatten()]).max())


def _relative(mine: Tensor, plain: Tensor, unit: float) -> Tensor:
    """Differences relative to the values or, where those are smaller, to a unit."""
    return (mine - plain).abs() / plain.abs().clamp(min=unit)


def _trained(network: nn.Module) -> list[Tensor]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _training_difference(
    mlp: MLP, fused: Callable[[], Sequence[Tensor]], plain: Callable[[], Sequence[Tensor]], wanted: Sequence[Tensor]
) -> float:
    """The norm of the difference of an output of an MLP, or a fifth of that of a gradient of what is `wanted`,
    whichever is largest; relative to the norm of the tensor. NaN if there is one anywhere."""
    smallest = torch.finfo(torch.float32).tiny
    with torch.enable_grad():
        both = [list(way()) for way in (fused, plain)]
        off = [_norm_of_difference(mine, other, smallest) for mine, other in zip(*both)]
        if wanted:
            directions = [_normal(output.numel(), 1, mlp).view(output.shape) for output in both[0]]
            # the bias behind the last sum does not reach a gradient of the output
            slopes = [torch.autograd.grad(outputs, wanted, directions, materialize_grads=True) for outputs in both]
            off += [_norm_of_difference(mine, other, smallest) / 5 for mine, other in zip(*slopes)]
    return float(torch.stack(off).max())


def _norm_of_difference(mine: Tensor, plain: Tensor, smallest: float) -> Tensor:
    return (mine - plain).detach().norm() / plain.detach().norm().clamp(min=smallest)


def _points_in(aabb: Tensor, count: int | None = None) -> Tensor:
    """Random points (count, 3) of a box, always the same ones; None: CHECKED_POINTS of them."""
    places = torch.rand(count or CHECKED_POINTS, 3, generator=torch.Generator().manual_seed(0))
    return aabb[0] + places.to(aabb) * (aabb[1] - aabb[0])


def _normal(count: int, width: int, network: nn.Module) -> Tensor:
    """Normal numbers (count, width), always the same ones, on a network's device."""
    return torch.randn(count, width, generator=torch.Generator().manual_seed(1)).to(_device(network))


@functools.cache
def say_once(line: str) -> None:
    """Logs a warning that this process has not logged before."""
    _logger.warning(line)
