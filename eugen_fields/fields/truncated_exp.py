"""The activation of densities: an exponential whose gradient neither vanishes nor overflows."""

from typing import Any

import torch
from torch import Tensor
from torch.amp.autocast_mode import custom_bwd, custom_fwd

LARGEST_EXPONENT = 15.0
"""Where the slope stops growing, and below its negative stops shrinking: Instant-NGP's choice."""


class _TruncatedExp(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(ctx: Any, exponent: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(exponent)
        return exponent.exp()

    @staticmethod
    @custom_bwd(device_type="cuda")
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (exponent,) = ctx.saved_tensors
        return grad * exponent.clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT).exp()


def truncated_exp(exponent: Tensor) -> Tensor:
    """exp(exponent), any shape, with the slope exp(clamp(exponent, -15, 15)): the activation of densities in "Instant
    Neural Graphics Primitives with a Multiresolution Hash Encoding" (Mueller et al., 2022). Under CUDA's autocast it is
    computed in float32."""
    result = _TruncatedExp.apply(exponent)
    assert isinstance(result, Tensor)
    return result
