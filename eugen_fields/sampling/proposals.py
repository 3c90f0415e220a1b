"""Rays followed in rounds: each looks at fewer, better places than the one before.

Source: "Mip-NeRF 360" (Barron et al., 2022), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eugen_fields.sampling.histograms import annealed, resample
from eugen_fields.sampling.intervals import alpha_weights
from eugen_fields.sampling.spacing import Spacing, to_distances

_PADDING = 0.1
"""Weight that is spread evenly whatever a proposal says, relative to all of its own: the next round must be able to
find what it missed."""


@dataclass
class Intervals:
    """The last round of samples along R rays, S of them on each."""

    rays: Tensor
    """Places of the rays among those that were asked for, shape (R,)."""
    distances: Tensor
    """Edges along the rays, shape (R, S + 1)."""
    means: Tensor
    """Means of the stretches of the cones, shape (R, S, 3)."""
    spreads: Tensor
    """How far each reaches about its mean: covariances, shape (R, S, 3, 3), or widths, shape (R, S)."""
    weights: Tensor
    """Shares of the ray's colour, shape (R, S)."""
    features: Tensor
    """What the colour head reads, shape (R, S, feature width)."""
    history: list[tuple[Tensor, Tensor]]
    """Normalised edges and weights of every round, this one last."""

    def heaviest(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means (R, 3), spreads (R, ...) and weights (R,) of each ray's stretch that shows most."""
        weights, samples = self.weights.detach().max(dim=1)
        rays = torch.arange(len(samples), device=samples.device)
        return self.means[rays, samples], self.spreads[rays, samples], weights

    def on_all_rays(self, values: Tensor, num_rays: int) -> Tensor:
        """Values (R, channels) among zeros for the other rays that were asked for, shape (num_rays, channels)."""
        return values.new_zeros(num_rays, values.shape[1]).index_put((self.rays,), values)


def march(
    near: Tensor,
    far: Tensor,
    places: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    rounds: Sequence[tuple[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], int]],
    *,
    spacing: Spacing,
    anneal_progress: float = 1.0,
    stratified: bool = False,
    scale_gradients: bool = False,
) -> Intervals:
    """Rounds of samples along those rays that have near < far; each is drawn from the weights of the one before.

    Args:
        near, far: shape (N,), scene units. If near < far nowhere, the first ray stands for all, without weight, so that
            losses have something to differentiate.
        places: means (R, S, 3) and spreads (R, S, ...) of intervals with distances (R, S + 1) on the rays whose places
            among the N are (R,).
        rounds: a network for each, which takes means and spreads to densities (R, S) and features
            (R, S, feature width), and how many samples it sees; proposals first.
        spacing: of normalised distances; the first round is even in them.
        anneal_progress: as in `annealed`.
        stratified: as in `resample`.
        scale_gradients: those of samples closer than 1 are multiplied by the square of their distance.
    """
    rays = (near < far).nonzero()[:, 0]
    meets_nothing = len(rays) == 0
    if meets_nothing:
        rays, far = rays.new_zeros(1), near * (1.0 + 1e-4)
    near, far = near[rays, None], far[rays, None]
    edges, weights = torch.cat([torch.zeros_like(near), torch.ones_like(near)], dim=-1), torch.ones_like(near)
    history: list[tuple[Tensor, Tensor]] = []
    distances = means = spreads = features = edges
    for network, num_samples in rounds:
        weights = annealed(weights.detach(), anneal_progress)
        weights = weights + _PADDING * weights.mean(dim=-1, keepdim=True)
        edges = resample(edges, weights, num_samples, stratified=stratified)
        distances = to_distances(edges, near, far, spacing)
        means, spreads = places(rays, distances)
        density, features = network(means, spreads)
        if scale_gradients:
            _scale_gradients(density, features, distances)
        weights = alpha_weights(density, distances) * (0.0 if meets_nothing else 1.0)
        history.append((edges, weights))
    return Intervals(rays, distances, means, spreads, weights, features, history)


def _scale_gradients(density: Tensor, features: Tensor, distances: Tensor) -> None:
    """Multiplies the gradients of intervals, in backward(), by the share of cameras that could see them: the square of
    their distance, at most 1.

    A volume near a camera fills many of its pixels, and hardly another camera sees it: without this a fog before every
    lens can take the place of the scene.

    Source: "Floaters No More: Radiance Field Gradient Scaling for Improved Near-Camera Training" (Philip and
    Deschaintre, 2023), with the unit of length that of the scene.

    Args:
        density, features: shapes (R, S) and (R, S, feature width).
        distances: edges, shape (R, S + 1), scene units.
    """
    middles = (0.5 * (distances[:, :-1] + distances[:, 1:])).detach()
    scale = middles.square().clamp(max=1.0)
    if density.requires_grad:
        density.register_hook(lambda gradient: gradient * scale.to(gradient.dtype))
    if features.requires_grad:
        features.register_hook(lambda gradient: gradient * scale[..., None].to(gradient.dtype))
