"""Networks of feature planes: field and proposal network of what reads features where Mip-NeRF has waves."""

from __future__ import annotations

from torch import Tensor

from eugen_fields.encodings import PlaneEncoding, conical_frustum_widths, contract_widths
from eugen_fields.fields.cones import ConeField, ConeRadianceField


class PlaneDensityField(ConeField):
    """Density of a stretch of a cone: features of its mean that suit its width, then an MLP. Spreads are widths (N,),
    standard deviations across the cone.

    Sources: encodings.PlaneEncoding; "Mip-NeRF 360" (Barron et al., 2022) for the contraction.

    Args:
        aabb: the scene box, shape (2, 3).
        encoding: encodings.PlaneEncoding, or kernels.TinyCudaHashGrid in its place.
        options: as in ConeField.
    """

    @staticmethod
    def places(
        origins: Tensor, directions: Tensor, starts: Tensor, ends: Tensor, radius: Tensor
    ) -> tuple[Tensor, Tensor]:
        return conical_frustum_widths(origins, directions, starts, ends, radius)

    def normalise(self, positions: Tensor, spreads: Tensor) -> tuple[Tensor, Tensor]:
        widths = spreads / self.half_side
        if not self.bounded:
            widths = contract_widths((positions - self.aabb.mean(dim=0)) / self.half_side, widths) / 2
        return self.normalise_points(positions), widths

    def variances(self, spreads: Tensor) -> Tensor:
        return spreads**2

    def point_spreads(self, count: int) -> Tensor:
        return self.footprint.expand(count)

    def total_variation(self) -> Tensor:
        """As PlaneEncoding.total_variation; only where features are planes."""
        assert isinstance(self.position_encoding, PlaneEncoding)
        return self.position_encoding.total_variation()


class PlaneField(PlaneDensityField, ConeRadianceField):
    """Density from planes, colour from the features behind it and a viewing direction.

    Args:
        aabb, encoding, options: as in PlaneDensityField and ConeRadianceField.
    """
