"""Networks of Gaussians: the field and the proposal network of Mip-NeRF-style models."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from eugen_fields.encodings import IntegratedEncoding, conical_frustum_gaussians, contract_gaussians
from eugen_fields.fields.cones import ConeField, ConeRadianceField


class GaussianDensityField(ConeField):
    """Density of a Gaussian in space: integrated encoding, then an MLP. Spreads are covariances (N, 3, 3).

    Source: "Mip-NeRF" (Barron et al., 2021), section 3.1, and "Mip-NeRF 360" (Barron et al., 2022), sections 2 and 3.

    Args:
        aabb: the scene box, shape (2, 3).
        position_frequencies: octaves of the encoding.
        basis: "diagonal" encodes along the axes, "icosahedron" along 21 directions.
        options: as in ConeField.
    """

    def __init__(
        self,
        aabb: Tensor,
        *,
        position_frequencies: int = 12,
        basis: Literal["diagonal", "icosahedron"] = "icosahedron",
        **options: Any,
    ) -> None:
        super().__init__(aabb, IntegratedEncoding(position_frequencies, basis=basis), **options)

    @staticmethod
    def places(
        origins: Tensor, directions: Tensor, starts: Tensor, ends: Tensor, radius: Tensor
    ) -> tuple[Tensor, Tensor]:
        return conical_frustum_gaussians(origins, directions, starts, ends, radius)

    def normalise(self, positions: Tensor, spreads: Tensor) -> tuple[Tensor, Tensor]:
        means, covariances = (positions - self.aabb.mean(dim=0)) / self.half_side, spreads / self.half_side**2
        if self.bounded:
            return means, covariances
        means, covariances = contract_gaussians(means, covariances)
        return means / 2, covariances / 4

    def variances(self, spreads: Tensor) -> Tensor:
        return spreads.diagonal(dim1=-2, dim2=-1).mean(dim=-1).clamp(min=0.0)

    def point_spreads(self, count: int) -> Tensor:
        eye = torch.eye(3, dtype=self.footprint.dtype, device=self.footprint.device)
        return (self.footprint**2 * eye).expand(count, 3, 3)


class MipNeRFField(GaussianDensityField, ConeRadianceField):
    """Density of a Gaussian, colour from its features and a viewing direction.

    Source: as GaussianDensityField and ConeRadianceField.

    Args:
        aabb, options: as in GaussianDensityField and ConeRadianceField.
    """
