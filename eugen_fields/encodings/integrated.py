"""Integrated positional encoding: the frequency encoding averaged over a Gaussian."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Basis = Literal["diagonal", "icosahedron"]


def icosahedron_directions() -> Tensor:
    """Corners and edge midpoints of an icosahedron, one of each opposite pair, unit length, float64, shape (21, 3).

    Each edge cut in two makes 12 + 30 = 42 vertices, in 21 opposite pairs.

    Source: "Mip-NeRF 360" (Barron et al., 2022), supplement, off-axis positional encoding.
    """
    golden = (1.0 + math.sqrt(5.0)) / 2.0
    corners = torch.tensor([[0.0, 1.0, golden], [0.0, 1.0, -golden]], dtype=torch.float64)
    corners = torch.cat([corners.roll(shift, dims=1) for shift in range(3)])
    # The six diagonals meet at one angle, so of every two the ends on the near side of each other share an edge.
    first, second = torch.triu_indices(6, 6, offset=1)
    near_side = torch.sign((corners[first] * corners[second]).sum(dim=1, keepdim=True))
    return F.normalize(torch.cat([corners, corners[first] + near_side * corners[second]]), dim=1)


def _products(values: Tensor, matrix: Tensor) -> Tensor:
    """values (..., N) times matrix (N, K). Not `@`: autocast and TF32 would round away what high octaves look at."""
    result = values[..., :1] * matrix[0]
    for row in range(1, len(matrix)):
        result = result + values[..., row : row + 1] * matrix[row]
    return result


class IntegratedEncoding(nn.Module):
    """x and the expected sin(2^k pi b.x) and cos(2^k pi b.x) for x of a normal law, b over the directions of a basis.

    For k = 0 .. num_frequencies - 1 and K directions b, the rows of B:
    E sin(2^k pi b.x) = sin(2^k pi b.mean) exp(-(2^k pi)^2 b.Sigma.b / 2), likewise the cosine. With the diagonal basis
    (K = 3, the axes) and no covariance it is FrequencyEncoding, channel for channel.

    Sources: "Mip-NeRF" (Barron et al., 2021), eq. 14, with 2^k pi for 2^k and with the mean itself kept, as
    FrequencyEncoding has them; basis "icosahedron" (K = 21): icosahedron_directions.

    Args:
        num_frequencies: octaves.
        basis: "diagonal" or "icosahedron".

    Shapes: means (..., 3) and covariances (..., 3, 3), symmetric, or None for points, to (..., out_dim): the means,
    sines by octave and within it by direction, then the cosines; out_dim = 3 + 2 K num_frequencies.

    Raises:
        ValueError: num_frequencies below 0, or an unknown basis.
    """

    octaves: Tensor
    basis: Tensor
    variance_basis: Tensor

    def __init__(self, num_frequencies: int, *, basis: Basis = "diagonal") -> None:
        super().__init__()
        if num_frequencies < 0:
            raise ValueError(f"num_frequencies is {num_frequencies}; it must be 0 or more")
        if basis not in ("diagonal", "icosahedron"):
            raise ValueError(f"basis is {basis!r}; it must be 'diagonal' or 'icosahedron'")
        directions = torch.eye(3, dtype=torch.float64) if basis == "diagonal" else icosahedron_directions()
        octaves = 2.0 ** torch.arange(num_frequencies, dtype=torch.float64)
        # b.Sigma.b is linear in Sigma: its nine entries times those of b b^T
        outer = (directions[:, :, None] * directions[:, None, :]).flatten(1)
        self.num_frequencies = num_frequencies
        self.directions: Basis = basis
        self.out_dim = 3 + 2 * num_frequencies * len(directions)
        dtype = torch.get_default_dtype()
        self.register_buffer("octaves", octaves.to(dtype), persistent=False)
        self.register_buffer("basis", directions.t().contiguous().to(dtype), persistent=False)
        self.register_buffer("variance_basis", outer.t().contiguous().to(dtype), persistent=False)

    def forward(self, means: Tensor, covariances: Tensor | None = None) -> Tensor:
        half_turns = _products(means, self.basis)[..., None, :] * self.octaves[:, None]
        # 2^k times and whole turns less are exact: only the last product rounds, however high the octave
        half_turns = half_turns - 2.0 * torch.round(0.5 * half_turns)
        angles = (math.pi * half_turns).flatten(-2)
        if covariances is None:
            return torch.cat([means, torch.sin(angles), torch.cos(angles)], dim=-1)
        # rounding can leave a thin Gaussian a variance below 0, which a high octave would blow up
        variances = _products(covariances.flatten(-2), self.variance_basis).clamp_min(0.0)
        damping = torch.exp(variances[..., None, :] * (-0.5 * (math.pi * self.octaves[:, None]) ** 2)).flatten(-2)
        return torch.cat([means, damping * torch.sin(angles), damping * torch.cos(angles)], dim=-1)
