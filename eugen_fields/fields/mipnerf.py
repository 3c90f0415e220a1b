"""Networks of Gaussians: the field and the proposal network of Mip-NeRF-style models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from eugen_fields.encodings import FrequencyEncoding, IntegratedEncoding, contract_gaussians
from eugen_fields.fields.base import Field
from eugen_fields.fields.radiance import RadianceField
from eugen_fields.fields.truncated_exp import truncated_exp
from eugen_fields.layers import MLP


class GaussianDensityField(Field):
    """Density of a Gaussian in space: integrated encoding, then an MLP. Alone it is a proposal network.

    Source: "Mip-NeRF" (Barron et al., 2021), section 3.1, and "Mip-NeRF 360" (Barron et al., 2022), sections 2 and 3.
    Space is scaled so that the longest side of the scene box is [-1, 1]. Unbounded space is then contracted into a
    ball of radius 2 and halved, so that the encoding sees [-1, 1] in both regimes.

    Args:
        aabb: the scene box, shape (2, 3).
        bounded: everything lies in the box; otherwise space is contracted around it.
        num_layers, layer_width: hidden layers and their width.
        feature_dim: length of the feature vector that comes with the density.
        position_frequencies: octaves of the encoding.
        basis: "diagonal" encodes along the axes, "icosahedron" along 21 directions.
        skip_connections: layers that see the encoding again.
        initial_optical_depth: of the untrained field along the longest side of the box.
        layer, replace, layer_options: as in eugen_fields.layers.MLP.
    """

    footprint: Tensor

    def __init__(
        self,
        aabb: Tensor,
        *,
        bounded: bool,
        num_layers: int,
        layer_width: int,
        feature_dim: int = 0,
        position_frequencies: int = 12,
        basis: Literal["diagonal", "icosahedron"] = "icosahedron",
        skip_connections: Sequence[int] = (),
        initial_optical_depth: float = 0.3,
        layer: str = "eugen",
        replace: Sequence[int] | None = None,
        **layer_options: Any,
    ) -> None:
        super().__init__()
        self.register_buffer("aabb", aabb.clone().float())
        self.register_buffer("footprint", torch.zeros(()))
        self.bounded = bounded
        self.feature_dim = feature_dim
        self.initial_density = initial_optical_depth / float((aabb[1] - aabb[0]).max())
        self.position_encoding = IntegratedEncoding(position_frequencies, basis=basis)
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

    def normalise(self, positions: Tensor, covariances: Tensor) -> tuple[Tensor, Tensor]:
        """Means (N, 3) and covariances (N, 3, 3) in the frame of the encoding, from those in scene units."""
        half = (self.aabb[1] - self.aabb[0]).max() / 2
        means, covariances = (positions - self.aabb.mean(dim=0)) / half, covariances / half**2
        if self.bounded:
            return means, covariances
        means, covariances = contract_gaussians(means, covariances)
        return means / 2, covariances / 4

    def encode(self, positions: Tensor, covariances: Tensor | None = None) -> Tensor:
        """What the trunk reads at Gaussians with means (N, 3) and covariances (N, 3, 3) in scene units, shape
        (N, encoding width).

        Without covariances: points, seen as large as training saw surfaces (`footprint`). At finer detail than that
        the network never learnt anything.
        """
        with torch.autocast(positions.device.type, enabled=False):
            if covariances is not None:
                return self.position_encoding(*self.normalise(positions, covariances))
            means, _ = self.normalise(positions, positions.new_zeros(()).expand(*positions.shape, 3))
            eye = torch.eye(3, dtype=means.dtype, device=means.device)
            return self.position_encoding(means, (self.footprint**2 * eye).expand(*means.shape, 3))

    def density(self, positions: Tensor, covariances: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Density per scene unit (N,) and features (N, feature_dim) of Gaussians, or of points as in `encode`."""
        raw, features = self.evaluate_network("trunk", self.encode(positions, covariances)).split(
            [1, self.feature_dim], dim=-1
        )
        return self.initial_density * truncated_exp(raw[..., 0].float()), features

    @torch.no_grad()
    def watch_footprint(self, positions: Tensor, covariances: Tensor, weights: Tensor, rate: float = 0.01) -> None:
        """Moves `footprint`, the standard deviation along one axis in the frame of the encoding, towards that of
        Gaussians that training renders with these weights (N,). Batches that show nothing leave it alone."""
        _, covariances = self.normalise(positions, covariances)
        variance = covariances.diagonal(dim1=-2, dim2=-1).mean(dim=-1).clamp(min=0.0)
        total = weights.sum()
        measured = ((variance * weights).sum() / total).sqrt()
        moved = torch.where(self.footprint == 0, measured, self.footprint.lerp(measured, rate))
        self.footprint.copy_(torch.where((total > 1e-6) & measured.isfinite(), moved, self.footprint))


class MipNeRFField(GaussianDensityField, RadianceField):
    """Density of a Gaussian, colour from its features and a viewing direction.

    Source: as GaussianDensityField; the colour head is that of "Mip-NeRF 360", one layer on a feature vector.

    Args:
        color_width: width of the colour head.
        direction_frequencies: octaves of the encoding of directions.
        num_images, appearance_dim: a code of this length for each training image, read by the colour head (0: none).
            Renders use the mean code.
        aabb, options: as in GaussianDensityField.
    """

    def __init__(
        self,
        aabb: Tensor,
        *,
        feature_dim: int = 256,
        color_width: int = 128,
        direction_frequencies: int = 4,
        num_images: int = 0,
        appearance_dim: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(aabb, feature_dim=feature_dim, **options)
        self.direction_encoding = FrequencyEncoding(3, direction_frequencies)
        self.appearance = nn.Embedding(num_images, appearance_dim) if appearance_dim else None
        if self.appearance is not None:
            nn.init.zeros_(self.appearance.weight)
        width_in = feature_dim + self.direction_encoding.out_dim + appearance_dim
        self.color_head = MLP(width_in, 2, color_width, 3, layer="dense", out_activation="sigmoid")

    def color(self, features: Tensor, directions: Tensor, images: Tensor | None = None) -> Tensor:
        """RGB in [0, 1], shape (N, 3), from features (N, feature_dim), unit directions (N, 3) and the indices of the
        training images (N,) that look; None: the mean image."""
        parts = [features, self.evaluate_encoding("direction_encoding", directions)]
        if self.appearance is not None:
            code = self.appearance.weight.mean(dim=0).expand(len(features), -1)
            parts.append(code if images is None else self.appearance(images))
        return self.evaluate_network("color_head", torch.cat(parts, dim=-1)).float()
