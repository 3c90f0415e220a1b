"""What every density and colour field shares."""

from typing import TypeVar

from torch import Tensor, nn

from eugen_fields.kernels import tiled
from eugen_fields.layers import MLP

Self = TypeVar("Self", bound="RadianceField")


class RadianceField(nn.Module):
    """Density and colour from positions in a scene box: a `trunk` that reads `encode`, and two heads behind it.

    Subclasses define encode, density and color; shapes are the same in all of them.
    """

    aabb: Tensor
    trunk: MLP

    def encode(self, positions: Tensor) -> Tensor:
        """What the trunk reads at positions (N, 3) in scene units, shape (N, encoding width)."""
        raise NotImplementedError

    def density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Density per scene unit (N,) and features (N, feature width) at positions (N, 3) in scene units."""
        raise NotImplementedError

    def color(self, features: Tensor, directions: Tensor) -> Tensor:
        """RGB in [0, 1], shape (N, 3), from features (N, feature width) and unit directions (N, 3)."""
        raise NotImplementedError

    def forward(self, positions: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Density (N,) and RGB (N, 3) at positions (N, 3) seen along unit directions (N, 3)."""
        density, features = self.density(positions)
        return density, self.color(features, directions)

    def folded(self: Self) -> Self:
        """The inference form: a copy with folded MLPs, which take points in tiles on a CPU (same outputs to rounding,
        fewer multiplications)."""
        folded = tiled(self)
        assert isinstance(folded, type(self))
        return folded
