"""Histograms along rays: S weights between S + 1 ascending edges. Drawing from them, and losses that compare them.

Source: "Mip-NeRF 360" (Barron et al., 2022).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def inverse_distribution(edges: Tensor, weights: Tensor, fractions: Tensor) -> Tensor:
    """The places that have these fractions of a histogram's mass before them; no gradient passes.

    Mass is even within an interval. No place lies inside an interval without weight.

    Args:
        edges: shape (R, S + 1), ascending.
        weights: shape (R, S), at least 0, of any sum; a ray of zeros counts as even between its outer edges.
        fractions: shape (R, N), in (0, 1].

    Returns:
        places, shape (R, N), ascending where the fractions are, in the units of the edges.
    """
    tiny = torch.finfo(edges.dtype).tiny
    weights = torch.where(weights.sum(dim=-1, keepdim=True) > tiny, weights, torch.diff(edges))
    mass = F.pad(torch.cumsum(weights, dim=-1), (1, 0))
    target = fractions * mass[:, -1:]
    upper = torch.searchsorted(mass, target, side="left").clamp(1, weights.shape[-1])
    mass_below, mass_above = mass.gather(-1, upper - 1), mass.gather(-1, upper)
    left, right = edges.gather(-1, upper - 1), edges.gather(-1, upper)
    share = (target - mass_below) / (mass_above - mass_below).clamp_min(tiny)
    return torch.minimum(left + share * (right - left), right)  # rounding must not pass the next place


@torch.no_grad()
def resample(
    edges: Tensor, weights: Tensor, num_samples: int, *, stratified: bool, generator: torch.Generator | None = None
) -> Tensor:
    """Edges of `num_samples` intervals that are short where the histogram is heavy; no gradient passes.

    The intervals' centres divide the mass equally: the inverse distribution at (i + v) / num_samples. v is 1/2, or with
    `stratified` one uniform number for each ray, so that its centres move together and their distances stay even.
    Edges lie midway between centres; the first and the last mirror their neighbours in the outer centres and are kept
    within the histogram.

    Args:
        edges: shape (R, S + 1), ascending.
        weights: shape (R, S), at least 0, of any sum; a ray of zeros counts as even between its outer edges.
        stratified: random v (training) instead of 1/2.
        generator: of the random v, on the device of the edges; None takes torch's own.

    Returns:
        edges, shape (R, num_samples + 1), ascending.

    Raises:
        ValueError: num_samples below 2.
    """
    if num_samples < 2:
        raise ValueError(f"num_samples is {num_samples}; it must be at least 2, for an edge midway between two centres")
    if stratified:  # rand is in [0, 1), fractions must be in (0, 1]
        offset = 1.0 - torch.rand(len(edges), 1, generator=generator, dtype=edges.dtype, device=edges.device)
    else:
        offset = torch.full_like(edges[:, :1], 0.5)
    steps = torch.arange(num_samples, dtype=edges.dtype, device=edges.device)
    centres = inverse_distribution(edges, weights, (steps + offset) / num_samples)
    middles = 0.5 * (centres[:, 1:] + centres[:, :-1])
    first = torch.maximum(2.0 * centres[:, :1] - middles[:, :1], edges[:, :1])
    last = torch.minimum(2.0 * centres[:, -1:] - middles[:, -1:], edges[:, -1:])
    return torch.cat([first, middles, last], dim=-1)


@torch.no_grad()
def annealed(weights: Tensor, progress: float) -> Tensor:
    """weights^(b p / ((b - 1) p + 1)), b = 10, to sample from: all 1 at progress p = 0, the weights from p = 1 on.

    Early in training a proposal is wrong with confidence; flattened, it lets every place be seen.

    Source: supplement, on annealing. No gradient passes (that of a power below 1 is infinite at weight 0).

    Args:
        weights: shape (R, S), at least 0.
        progress: fraction of the annealing done, at least 0.

    Returns:
        shape (R, S).
    """
    bias = 10.0
    progress = min(progress, 1.0)
    return weights ** (bias * progress / ((bias - 1.0) * progress + 1.0))


def interlevel_loss(edges: Tensor, weights: Tensor, proposal_edges: Tensor, proposal_weights: Tensor) -> Tensor:
    """How far weights exceed what a proposal allows them: sum_i max(0, w_i - bound_i)^2 / (w_i + 1e-7) (eq. 13).

    bound_i is the sum of the proposal's weights over its intervals that overlap interval i (eq. 12); intervals that
    only touch do not overlap. Gradient reaches proposal_weights alone: the proposal is to follow the field's weights,
    which are detached here.

    Args:
        edges: shape (R, S + 1), ascending, in the units of proposal_edges.
        weights: shape (R, S), at least 0.
        proposal_edges: shape (R, P + 1), ascending.
        proposal_weights: shape (R, P), at least 0.

    Returns:
        loss of each ray, shape (R,).
    """
    weights, edges, proposal_edges = weights.detach(), edges.detach().contiguous(), proposal_edges.detach().contiguous()
    mass = F.pad(torch.cumsum(proposal_weights, dim=-1), (1, 0))
    starts, ends = edges[:, :-1].contiguous(), edges[:, 1:].contiguous()
    lower = (torch.searchsorted(proposal_edges, starts, side="right") - 1).clamp_min(0)
    upper = torch.searchsorted(proposal_edges, ends, side="left").clamp_max(proposal_weights.shape[-1])
    bound = mass.gather(-1, torch.maximum(lower, upper)) - mass.gather(-1, lower)
    return ((weights - bound).clamp_min(0.0) ** 2 / (weights + 1e-7)).sum(dim=-1)


def distortion_loss(edges: Tensor, weights: Tensor) -> Tensor:
    """sum_ij w_i w_j |m_i - m_j| + sum_i w_i^2 d_i / 3 with midpoints m and lengths d (eq. 15): the mean distance of
    two places drawn from the histogram, times its squared sum. Small for one compact surface on the ray.

    The double sum costs O(S): between m_k and m_k+1 lies a stretch that just the pairs with one place at or before k
    and one after it span, so that it counts 2 C_k (C - C_k) times, C_k = w_1 + .. + w_k.

    Args:
        edges: normalised distances, shape (R, S + 1), ascending.
        weights: shape (R, S), at least 0.

    Returns:
        loss of each ray, shape (R,), in the units of the edges.
    """
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    before = torch.cumsum(weights, dim=-1)
    after = before[:, -1:] - before
    between = 2.0 * (torch.diff(middles) * before[:, :-1] * after[:, :-1]).sum(dim=-1)
    within = (weights**2 * torch.diff(edges)).sum(dim=-1) / 3.0
    return between + within
