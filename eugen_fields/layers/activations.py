"""Activation functions by name, and the safe Euclidean norm."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Callable[[Tensor], Tensor]


def identity(x: Tensor) -> Tensor:
    return x


def softplus100(x: Tensor) -> Tensor:
    """log(1 + e^(100 x)) / 100: relu with its corner rounded off within a few hundredths of 0, for fields whose
    gradient is trained ("iSDF", Ortiz et al., 2022)."""
    # Below -0.3 (e^-30 and less) it is constant: left to itself e^(100 x) is denormal for a good part of all inputs,
    # and CPUs compute with such numbers an order of magnitude slower.
    return F.softplus(x.clamp_min(-0.3), beta=100.0)


ACTIVATIONS: dict[str, Activation] = {
    "identity": identity,
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
    "softplus100": softplus100,
    "sine": torch.sin,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def start_gain(activation: Activation) -> float:
    """The factor on weights of standard deviation 1 / sqrt(inputs) with which a layer and the activation behind it keep
    the mean square of their input: sqrt(2) for those that are 0 for one half of it, else 1."""
    return math.sqrt(2.0) if activation in (F.relu, softplus100) else 1.0


def get_activation(activation: str | Activation | None) -> Activation:
    """The function behind a name (None is the identity); callables pass through. Raises ValueError on other names."""
    if activation is None:
        return identity
    if callable(activation):
        return activation
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; it must be one of {', '.join(ACTIVATIONS)}, or a callable")
    return ACTIVATIONS[activation]


class _SquaredNorm(torch.autograd.Function):
    """|x|^2 over the last axis, shape (..., 1), in one pass over x forward and one backward; differentiable twice, in
    reverse and forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:  # type: ignore[override]
        return torch.linalg.vector_norm(x, dim=-1, keepdim=True).square()

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor], output: Tensor) -> None:  # type: ignore[override]
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return x * (2.0 * grad)

    @staticmethod
    def jvp(ctx, tangent: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return 2.0 * (x * tangent).sum(dim=-1, keepdim=True)


def safe_norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    """sqrt(|x|^2 + epsilon^2) over the last axis, shape (..., 1): the norm with finite first and second derivatives
    at 0. Half-precision input is squared in float32, where neither epsilon^2 nor the sum leaves the range."""
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    if torch.compiler.is_compiling():  # which cannot trace a function with a forward-mode rule, and fuses this itself
        squared = wide.square().sum(dim=-1, keepdim=True)
    else:
        squared = _SquaredNorm.apply(wide)
    return torch.sqrt(squared + epsilon**2).to(x.dtype)
