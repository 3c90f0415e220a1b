"""The NeRF network built from MLPs whose hidden layers are chosen by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from eugen_fields.encodings import FrequencyEncoding
from eugen_fields.fields.radiance import RadianceField
from eugen_fields.fields.truncated_exp import truncated_exp
from eugen_fields.layers import MLP


class NeRFField(RadianceField):
    """Density from a position, colour from a position and a viewing direction.

    Source: "NeRF" (Mildenhall et al., 2020), fig. 7: an MLP trunk with one skip connection, density and a feature
    vector from its end, and a one-layer colour head. Positions are scaled so that the scene box is [-1, 1]^3 before
    they are encoded.

    Args:
        aabb: the scene box, shape (2, 3).
        num_layers: hidden layers of the trunk.
        layer_width: their width.
        feature_dim: length of the feature vector handed to the colour head.
        color_width: width of the colour head.
        position_frequencies, direction_frequencies: octaves of the encodings.
        skip_connections: trunk layers that see the encoded position again.
        initial_optical_depth: of the untrained field along the longest side of the box. Small: a nearly transparent
            start lets opacity grow where images ask for it, while a foggy start is driven to empty space.
        layer, replace, layer_options: as in eugen_fields.layers.MLP, for the trunk.
    """

    def __init__(
        self,
        aabb: Tensor,
        *,
        num_layers: int = 8,
        layer_width: int = 256,
        feature_dim: int = 256,
        color_width: int = 128,
        position_frequencies: int = 10,
        direction_frequencies: int = 4,
        skip_connections: Sequence[int] = (4,),
        initial_optical_depth: float = 0.3,
        layer: str = "eugen",
        replace: Sequence[int] | None = None,
        **layer_options: Any,
    ) -> None:
        super().__init__()
        initial_density = initial_optical_depth / float((aabb[1] - aabb[0]).max())
        self._prepare(aabb, feature_dim, position_frequencies, direction_frequencies, initial_density)
        self.trunk = MLP(
            self.position_encoding.out_dim,
            num_layers + 1,
            layer_width,
            1 + feature_dim,
            layer=layer,
            replace=replace,
            skip_connections=skip_connections,
            **layer_options,
        )
        self.color_head = MLP(
            feature_dim + self.direction_encoding.out_dim, 2, color_width, 3, layer="dense", out_activation="sigmoid"
        )

    def _prepare(
        self,
        aabb: Tensor,
        feature_dim: int,
        position_frequencies: int,
        direction_frequencies: int,
        initial_density: float,
    ) -> None:
        """Everything but the networks."""
        self.register_buffer("aabb", aabb.clone().float())
        self.feature_dim = feature_dim
        self.initial_density = initial_density
        self.position_encoding = FrequencyEncoding(3, position_frequencies)
        self.direction_encoding = FrequencyEncoding(3, direction_frequencies)

    @classmethod
    def of_networks(
        cls,
        aabb: Tensor,
        make_networks: Callable[[int, int], tuple[Any, Any]],
        *,
        feature_dim: int,
        position_frequencies: int,
        direction_frequencies: int,
        initial_density: float,
    ) -> NeRFField:
        """A field of networks that are there already, such as folded ones.

        Args:
            aabb: the scene box, shape (2, 3).
            make_networks: from the widths of the encoded position and direction to the trunk and the colour head.
            initial_density: what the exponential of the trunk's first output is multiplied by, per scene unit.
            feature_dim, position_frequencies, direction_frequencies: as of the field.
        """
        field = cls.__new__(cls)
        RadianceField.__init__(field)
        field._prepare(aabb, feature_dim, position_frequencies, direction_frequencies, initial_density)
        encodings = field.position_encoding, field.direction_encoding
        field.trunk, field.color_head = make_networks(*(encoding.out_dim for encoding in encodings))
        return field

    def encode(self, positions: Tensor) -> Tensor:
        """What the trunk reads: positions (N, 3) in scene units, scaled and encoded, shape (N, encoding width)."""
        center = (self.aabb[0] + self.aabb[1]) / 2
        return self.evaluate_encoding("position_encoding", (positions - center) / ((self.aabb[1] - self.aabb[0]) / 2))

    def density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Density per scene unit (N,) and features (N, feature_dim) at positions (N, 3) in scene units."""
        raw, features = self.evaluate_network("trunk", self.encode(positions)).split([1, self.feature_dim], dim=-1)
        return self.initial_density * truncated_exp(raw[..., 0].float()), features

    def color(self, features: Tensor, directions: Tensor) -> Tensor:
        """RGB in [0, 1], shape (N, 3), from features (N, feature_dim) and unit directions (N, 3)."""
        return self.evaluate_network(
            "color_head", torch.cat([features, self.evaluate_encoding("direction_encoding", directions)], dim=-1)
        ).float()
