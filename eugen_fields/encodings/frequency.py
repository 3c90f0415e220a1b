"""Frequency (positional) encoding."""

import math

import torch
from torch import Tensor, nn


class FrequencyEncoding(nn.Module):
    """x and, for k = 0..num_frequencies-1, sin(2^k pi x) and cos(2^k pi x).

    Source: "NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis" (Mildenhall et al., 2020), eq. 4,
    with x itself kept, as its public code does.

    Shapes: x (..., in_dim), meant to lie in [-1, 1], to (..., out_dim), out_dim = in_dim * (1 + 2 num_frequencies).

    Raises:
        ValueError: num_frequencies below 0.
    """

    scales: Tensor

    def __init__(self, in_dim: int, num_frequencies: int) -> None:
        super().__init__()
        if num_frequencies < 0:
            raise ValueError(f"num_frequencies is {num_frequencies}; it must be 0 or more")
        self.in_dim = in_dim
        self.num_frequencies = num_frequencies
        self.out_dim = in_dim * (1 + 2 * num_frequencies)
        scales = math.pi * 2.0 ** torch.arange(num_frequencies, dtype=torch.float64)
        self.register_buffer("scales", scales.to(torch.get_default_dtype()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.num_frequencies == 0:
            return x
        angles = (x[..., None, :] * self.scales[:, None]).flatten(-2)
        return torch.cat([x, torch.sin(angles), torch.cos(angles)], dim=-1)
