"""What a stored field is held against: the run's own renders or distances, at places that matter. No image is read."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eugen_fields.fields import ConeRadianceField, SDFField
from eugen_fields.sampling import PackedSamples, accumulate, cone_places, intersect_box, render_weights, sample_rays
from eugen_fields.storing.cameras import Rays
from eugen_fields.storing.loading import StoredField, StoredRadianceField
from eugen_fields.storing.scene import RadianceScene

_CALIBRATION_BATCHES = 8
"""Batches whose samples say what networks read."""
_PROBES = 2
_SEEN_MARGIN = 1
_FREE_SHARE = 0.25
"""Share of the points of a signed distance that lie anywhere that was looked into, not near surfaces."""
_FREE_WEIGHT = 0.1
"""Of their squared errors; those near surfaces have 1."""


@dataclass
class RayBatch:
    """Rays with the samples that light reaches in the run's field, and the colours that it gives them."""

    samples: PackedSamples
    places: tuple[Tensor, ...]
    """Positions of the samples, shape (N, 3), and of fields that see cones their spreads, shape (N, ...)."""
    directions: Tensor
    """Unit viewing directions of the samples, shape (N, 3)."""
    color: Tensor
    """Over black, shape (R, 3)."""
    accumulation: Tensor
    """Shape (R, 1)."""

    def values(self, field: StoredRadianceField) -> tuple[Tensor, Tensor]:
        """Densities (N,) and colours (N, 3) of the samples."""
        density, features = field.density(*self.places)
        return density, field.color(features, self.directions)

    def render(self, density: Tensor, color: Tensor) -> tuple[Tensor, Tensor]:
        """Colour over black (R, 3) and accumulation (R, 1) of densities (N,) and colours (N, 3)."""
        return _composite(self.samples, density, color)


def _composite(samples: PackedSamples, density: Tensor, color: Tensor) -> tuple[Tensor, Tensor]:
    weights = render_weights(density, samples)
    return accumulate(weights, color, samples), accumulate(weights, None, samples)


class RenderTarget:
    """Renders of random pixels of some views by the run's own field.

    Args:
        stored: the run in full precision.
        views: make the rays of all pixels of each view, which may be many.
        num_pixels: of all views together.
        batch_samples: samples of a batch, about.
        seed: of the choice of pixels.
    """

    def __init__(
        self,
        stored: StoredField,
        views: Sequence[Callable[[], Rays]],
        *,
        num_pixels: int,
        batch_samples: int,
        seed: int,
    ) -> None:
        assert isinstance(stored.scene, RadianceScene) and stored.grid is not None
        assert not isinstance(stored.field, SDFField)
        self._field, self._scene = stored.field, stored.scene
        self.background = torch.tensor(self._scene.background)
        generator = torch.Generator().manual_seed(seed)
        each = math.ceil(num_pixels / len(views))
        chosen_rays = []
        for rays_of_view in views:
            of_view = rays_of_view()
            chosen = torch.randint(len(of_view[0]), (each,), generator=generator)
            chosen_rays.append([values[chosen] for values in of_view])
        self.num_pixels = each * len(views)
        origins, directions, radius = (torch.cat(values) for values in zip(*chosen_rays))
        near, far = intersect_box(origins, directions, stored.grid.bounds)
        near = near.clamp(min=self._scene.near_plane)
        step = self._scene.step_size
        samples = sample_rays(origins, directions, near, far, step, stored.grid, stratified=False)
        order = torch.randperm(len(near), generator=generator)
        order = order[samples.counts[order] > 0]
        self.batches: list[RayBatch] = []
        if len(order) == 0:
            return
        groups = max(1, round(int(samples.counts.sum()) / batch_samples))
        for group in order.tensor_split(min(groups, len(order))):
            rays = origins[group], directions[group], radius[group]
            self.batches.append(self._batch(rays, near[group], far[group], stored))

    @torch.no_grad()
    def _batch(self, rays: Rays, near: Tensor, far: Tensor, stored: StoredField) -> RayBatch:
        scene, (origins, directions, radius) = self._scene, rays
        samples = sample_rays(origins, directions, near, far, scene.step_size, stored.grid, stratified=False)
        along = directions[samples.ray_indices]
        if isinstance(self._field, ConeRadianceField):
            places = cone_places(self._field, origins, directions, radius, samples)
        else:
            places = (origins[samples.ray_indices] + samples.distances[:, None] * along,)
        black = torch.zeros_like(origins)
        whole = RayBatch(samples, places, along, black, black[:, :1])
        density, color = whole.values(self._field)
        # a weight is the light that arrives times the opacity; where that is nothing, the light cannot be told from it
        opacity = -torch.expm1(-density * scene.step_size)
        arrives = render_weights(density, samples) / opacity.clamp(min=1e-12)
        kept = (arrives > scene.stop_transmittance) | (opacity < 1e-6)
        samples, density, color = samples.keep(kept), density[kept], color[kept]
        kept_places = tuple(values[kept] for values in places)
        return RayBatch(samples, kept_places, along[kept], *_composite(samples, density, color))

    @property
    def count(self) -> float:
        """What the sum of all losses is divided by: colours of all pixels, those that meet nothing included."""
        return 3.0 * self.num_pixels

    def loss(self, field: StoredRadianceField, batch: RayBatch) -> Tensor:
        """Sum of squared errors over the colours of the batch's rays; differentiable."""
        return self._error(batch, *batch.render(*batch.values(field)))

    def _error(self, batch: RayBatch, color: Tensor, accumulation: Tensor) -> Tensor:
        return self._shown(color - batch.color, accumulation - batch.accumulation).square().sum()

    @torch.no_grad()
    def mean_loss(self, field: StoredRadianceField) -> float:
        """Mean squared error over all colours."""
        return sum(float(self.loss(field, batch)) for batch in self.batches) / self.count

    def probe(self, field: StoredRadianceField, batch: RayBatch, generator: torch.Generator) -> Tensor:
        """The sum of all colours of the batch with random signs: its squared gradient is, in the mean, the diagonal of
        the Gauss-Newton matrix of the loss."""
        color, accumulation = batch.render(*batch.values(field))
        shown = self._shown(color, accumulation)
        signs = torch.randint(0, 2, shown.shape, generator=generator) * 2.0 - 1.0
        return (shown * signs).sum()

    @functools.cached_property
    @torch.no_grad()
    def inputs(self) -> tuple[Tensor, Tensor]:
        """The encoded directions (N, width) of samples that say what networks read, and how much each sample matters
        (N,): the squared gradient of the colours of its ray."""
        parts, field = [], self._field
        generator = torch.Generator().manual_seed(0)
        for batch in self.batches[:_CALIBRATION_BATCHES]:
            matter = self._matter(batch, *batch.values(field), generator)
            parts.append((field.direction_encoding(batch.directions), matter))
        directions, matter = (torch.cat(values) for values in zip(*parts))
        return directions, matter + 1e-3 * matter.mean()

    @torch.no_grad()
    def encoded(self, field: StoredRadianceField) -> Tensor:
        """What the trunk of a field reads at the samples of `inputs`, (N, width)."""
        return torch.cat([field.encode(*batch.places) for batch in self.batches[:_CALIBRATION_BATCHES]])

    def _matter(self, batch: RayBatch, density: Tensor, color: Tensor, generator: torch.Generator) -> Tensor:
        log_density, color = density.clamp(min=1e-12).log().requires_grad_(True), color.clone().requires_grad_(True)
        matter = torch.zeros_like(density)
        with torch.enable_grad():
            for _ in range(_PROBES):
                shown = self._shown(*batch.render(log_density.exp(), color))
                signs = torch.randint(0, 2, shown.shape, generator=generator) * 2.0 - 1.0
                by_density, by_color = torch.autograd.grad((shown * signs).sum(), (log_density, color))
                matter += by_density.square() + by_color.square().sum(dim=-1)
        return matter

    def _shown(self, color: Tensor, accumulation: Tensor) -> Tensor:
        """Colours over the background, but for that itself."""
        return color - accumulation * self.background


@dataclass
class PointBatch:
    """Points with the distances of the run's field."""

    positions: Tensor
    """Shape (N, 3), metres."""
    distance: Tensor
    """Shape (N,), metres."""
    weight: Tensor
    """Weights of the squared errors, shape (N,)."""


class DistanceTarget:
    """Signed distances of the run's own field, most of them near surfaces that were seen.

    Args:
        stored: the run in full precision.
        num_points: of all batches together.
        batch_points: of a batch.
        seed: of the points.
    """

    def __init__(self, stored: StoredField, *, num_points: int, batch_points: int, seed: int) -> None:
        assert stored.seen is not None and isinstance(stored.field, SDFField)
        self._field = stored.field
        generator = torch.Generator().manual_seed(seed)
        low, high = stored.aabb
        places = low + torch.rand(24 * num_points, 3, generator=generator) * (high - low)
        near = places[stored.seen.near(_SEEN_MARGIN)(places)]
        free = places[stored.seen.is_open(places)]
        if len(near) == 0:
            near = places
        count = round(_FREE_SHARE * num_points) if len(free) else 0
        near, free = near[: num_points - count], free[:count]
        points = torch.cat([near, free])
        weight = torch.cat([torch.ones(len(near)), torch.full((len(free),), _FREE_WEIGHT)])
        order = torch.randperm(len(points), generator=generator)
        with torch.no_grad():
            distance = torch.cat([stored.field.sdf(part) for part in points[order].split(batch_points)])
        parts = (points[order], distance, weight[order])
        self.batches = [PointBatch(*part) for part in zip(*(value.split(batch_points) for value in parts))]

    @property
    def count(self) -> float:
        """What the sum of all losses is divided by: the sum of the weights."""
        return sum(float(batch.weight.sum()) for batch in self.batches)

    def loss(self, field: SDFField, batch: PointBatch) -> Tensor:
        """Weighted sum of squared errors, square metres; differentiable."""
        return (batch.weight * (field.sdf(batch.positions) - batch.distance).square()).sum()

    @torch.no_grad()
    def mean_loss(self, field: SDFField) -> float:
        """Weighted mean of squared errors, square metres."""
        return sum(float(self.loss(field, batch)) for batch in self.batches) / self.count

    @torch.no_grad()
    def change(self, field: SDFField) -> float:
        """Mean absolute difference near surfaces, metres."""
        parts = [(field.sdf(batch.positions) - batch.distance).abs()[batch.weight == 1.0] for batch in self.batches]
        return float(torch.cat(parts).mean())

    def probe(self, field: SDFField, batch: PointBatch, generator: torch.Generator) -> Tensor:
        """As RenderTarget.probe."""
        signs = torch.randint(0, 2, batch.weight.shape, generator=generator) * 2.0 - 1.0
        return (field.sdf(batch.positions) * batch.weight.sqrt() * signs).sum()

    @functools.cached_property
    def inputs(self) -> tuple[None, Tensor]:
        """Nothing, and how much each point that says what the network reads matters (N,)."""
        return None, torch.cat([batch.weight for batch in self.batches[:_CALIBRATION_BATCHES]])

    @torch.no_grad()
    def encoded(self, field: SDFField) -> Tensor:
        """What the trunk of a field reads at the points of `inputs`, (N, width)."""
        return torch.cat([field.encode(batch.positions) for batch in self.batches[:_CALIBRATION_BATCHES]])


Target = RenderTarget | DistanceTarget
