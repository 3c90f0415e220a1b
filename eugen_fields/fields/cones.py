"""What fields of cones share: density of a stretch of a pixel's cone in a box or in all of space, and colour of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from eugen_fields.encodings import FrequencyEncoding, contract
from eugen_fields.fields.base import Field
from eugen_fields.fields.radiance import RadianceField
from eugen_fields.fields.truncated_exp import truncated_exp
from eugen_fields.layers import MLP

RadianceOfCones = TypeVar("RadianceOfCones", bound="ConeRadianceField")


class ConeField(Field):
    """Density of stretches of cones: an encoding, then an MLP. Alone it is a proposal network.

    A stretch has a mean and a `spread`, which says how far it reaches about it in the terms of the encoding: a
    covariance, or a width. Space is scaled so that the longest side of the scene box is [-1, 1]. Unbounded space is
    then contracted into a ball of radius 2 and halved, so that the encoding sees [-1, 1] in both regimes.

    Subclasses define places, normalise, variances and point_spreads.

    Args:
        aabb: the scene box, shape (2, 3).
        encoding: a module that takes means (N, 3) in [-1, 1] and spreads to (N, encoding.out_dim).
        bounded: everything lies in the box; otherwise space is contracted around it.
        num_layers, layer_width: hidden layers and their width.
        feature_dim: length of the feature vector that comes with the density.
        skip_connections: layers that see the encoding again.
        initial_optical_depth: of the untrained field along the longest side of the box.
        layer, replace, layer_options: as in eugen_fields.layers.MLP.
    """

    footprint: Tensor
    position_encoding: nn.Module

    def __init__(
        self,
        aabb: Tensor,
        encoding: Any,
        *,
        bounded: bool,
        num_layers: int,
        layer_width: int,
        feature_dim: int = 0,
        skip_connections: Sequence[int] = (),
        initial_optical_depth: float = 0.3,
        layer: str = "eugen",
        replace: Sequence[int] | None = None,
        **layer_options: Any,
    ) -> None:
        super().__init__()
        initial_density = initial_optical_depth / float((aabb[1] - aabb[0]).max())
        self._prepare(aabb, encoding, bounded, feature_dim, initial_density)
        self.trunk = MLP(
            encoding.out_dim,
            num_layers + 1,
            layer_width,
            1 + feature_dim,
            layer=layer,
            replace=replace,
            skip_connections=skip_connections,
            **layer_options,
        )

    def _prepare(self, aabb: Tensor, encoding: Any, bounded: bool, feature_dim: int, initial_density: float) -> None:
        """Everything but the networks."""
        self.register_buffer("aabb", aabb.clone().float())
        self.register_buffer("footprint", torch.zeros(()))
        self.bounded = bounded
        self.feature_dim = feature_dim
        self.initial_density = initial_density
        self.position_encoding = encoding

    @staticmethod
    def places(
        origins: Tensor, directions: Tensor, starts: Tensor, ends: Tensor, radius: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Means (R, S, 3) and spreads (R, S, ...) of stretches of cones, in scene units.

        Args:
            origins, directions: of the cones' axes, shape (R, 3).
            starts, ends: distances along them, shape (R, S).
            radius: of the cones at distance 1, shape (R, 1).
        """
        raise NotImplementedError

    @property
    def half_side(self) -> Tensor:
        """Half of the longest side of the scene box, a scalar."""
        return (self.aabb[1] - self.aabb[0]).max() / 2

    def normalise_points(self, positions: Tensor) -> Tensor:
        """Points (N, 3) in the frame of the encoding, from those in scene units."""
        points = (positions - self.aabb.mean(dim=0)) / self.half_side
        return points if self.bounded else contract(points) / 2

    def normalise(self, positions: Tensor, spreads: Tensor) -> tuple[Tensor, Tensor]:
        """Means (N, 3) and spreads (N, ...) in the frame of the encoding, from those in scene units."""
        raise NotImplementedError

    def variances(self, spreads: Tensor) -> Tensor:
        """Variances (N,) along one axis of spreads (N, ...), the mean over the axes."""
        raise NotImplementedError

    def point_spreads(self, count: int) -> Tensor:
        """Spreads (count, ...), in the frame of the encoding, of points that are as large as `footprint` says."""
        raise NotImplementedError

    def encode(self, positions: Tensor, spreads: Tensor | None = None) -> Tensor:
        """What the trunk reads at means (N, 3) with spreads (N, ...) in scene units, shape (N, encoding width).

        Without spreads: points, seen as large as training saw surfaces (`footprint`). At finer detail than that the
        network never learnt anything.
        """
        with torch.autocast(positions.device.type, enabled=False):
            if spreads is not None:
                return self.position_encoding(*self.normalise(positions, spreads))
            return self.position_encoding(self.normalise_points(positions), self.point_spreads(len(positions)))

    def density(self, positions: Tensor, spreads: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Density per scene unit (N,) and features (N, feature_dim) of stretches of cones, or of points as in
        `encode`."""
        raw, features = self.evaluate_network("trunk", self.encode(positions, spreads)).split(
            [1, self.feature_dim], dim=-1
        )
        return self.initial_density * truncated_exp(raw[..., 0].float()), features

    @torch.no_grad()
    def watch_footprint(self, positions: Tensor, spreads: Tensor, weights: Tensor, rate: float = 0.01) -> None:
        """Moves `footprint`, the standard deviation along one axis in the frame of the encoding, towards that of
        stretches that training renders with these weights (N,). Batches that show nothing leave it alone."""
        variance = self.variances(self.normalise(positions, spreads)[1])
        total = weights.sum()
        measured = ((variance * weights).sum() / total).sqrt()
        moved = torch.where(self.footprint == 0, measured, self.footprint.lerp(measured, rate))
        self.footprint.copy_(torch.where((total > 1e-6) & measured.isfinite(), moved, self.footprint))


class ConeRadianceField(ConeField, RadianceField):
    """Density of stretches of cones, colour from its features and a viewing direction.

    Source: the colour head is that of "Mip-NeRF 360" (Barron et al., 2022), one layer on a feature vector.

    Args:
        aabb, encoding, options: as in ConeField.
        color_width: width of the colour head.
        direction_frequencies: octaves of the encoding of directions.
        num_images, appearance_dim: a code of this length for each training image, read by the colour head (0: none).
            Renders use the mean code.
    """

    def __init__(
        self,
        aabb: Tensor,
        encoding: Any,
        *,
        feature_dim: int = 256,
        color_width: int = 128,
        direction_frequencies: int = 4,
        num_images: int = 0,
        appearance_dim: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(aabb, encoding, feature_dim=feature_dim, **options)
        self.direction_encoding = FrequencyEncoding(3, direction_frequencies)
        self.appearance = nn.Embedding(num_images, appearance_dim) if appearance_dim else None
        if self.appearance is not None:
            nn.init.zeros_(self.appearance.weight)
        width_in = feature_dim + self.direction_encoding.out_dim + appearance_dim
        self.color_head = MLP(width_in, 2, color_width, 3, layer="dense", out_activation="sigmoid")

    @classmethod
    def of_networks(
        cls: type[RadianceOfCones],
        aabb: Tensor,
        encoding: Any,
        make_networks: Callable[[int, int], tuple[Any, Any]],
        *,
        feature_dim: int,
        direction_frequencies: int,
        initial_density: float,
        footprint: float,
    ) -> RadianceOfCones:
        """A field in a box, of an encoding and networks that are there already, such as folded ones.

        Args:
            aabb, encoding: as of the field.
            make_networks: from the widths of the encoded position and direction to the trunk and the colour head.
            initial_density: what the exponential of the trunk's first output is multiplied by, per scene unit.
            footprint: standard deviation along one axis, in the frame of the encoding, of what training saw.
            feature_dim, direction_frequencies: as of the field.
        """
        field = cls.__new__(cls)
        RadianceField.__init__(field)
        field._prepare(aabb, encoding, True, feature_dim, initial_density)
        field.footprint.fill_(footprint)
        field.direction_encoding = FrequencyEncoding(3, direction_frequencies)
        field.appearance = None
        field.trunk, field.color_head = make_networks(encoding.out_dim, field.direction_encoding.out_dim)
        return field

    def color(self, features: Tensor, directions: Tensor, images: Tensor | None = None) -> Tensor:
        """RGB in [0, 1], shape (..., 3), from features (..., feature_dim), unit directions and the indices of the
        training images that look; None: the mean image.

        Directions (..., 3) and indices (...) may have sides of 1 where features share them: with features
        (R, S, feature_dim) of samples on rays, directions (R, 1, 3) are encoded once for each ray.
        """
        shape = features.shape[:-1]
        encoded = self.evaluate_encoding("direction_encoding", directions.reshape(-1, 3))
        parts = [features, encoded.view(*directions.shape[:-1], encoded.shape[-1]).expand(*shape, -1)]
        if self.appearance is not None:
            code = self.appearance.weight.mean(dim=0) if images is None else self.appearance(images)
            parts.append(code.expand(*shape, -1))
        read = torch.cat(parts, dim=-1).flatten(0, -2)
        return self.evaluate_network("color_head", read).float().view(*shape, 3)
