"""What every density and colour field shares."""

from torch import Tensor

from eugen_fields.fields.base import Field


class RadianceField(Field):
    """Density and colour from positions in a scene box: a `trunk` that reads `encode`, and two heads behind it.

    Subclasses define encode, density and color; shapes are the same in all of them.
    """

    def encode(self, positions: Tensor) -> Tensor:
        """What the trunk reads at positions (N, 3) in scene units, shape (N, encoding width)."""
        raise NotImplementedError

    def density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Density per scene unit (N,) and features (N, feature width) at positions (N, 3) in scene units."""
        raise NotImplementedError

    def color(self, features: Tensor, directions: Tensor) -> Tensor:
        """RGB in [0, 1], shape (N, 3), from features (N, feature width) and unit directions (N, 3)."""
        raise NotImplementedError

    def density_alone(self, positions: Tensor) -> Tensor:
        """Density per scene unit (N,) at positions (N, 3) in scene units."""
        kernel = self.evaluator.whole_field(positions)
        return self.density(positions)[0] if kernel is None else kernel.density(positions)

    def forward(self, positions: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Density (N,) and RGB (N, 3) at positions (N, 3) seen along unit directions (N, 3)."""
        kernel = self.evaluator.whole_field(positions, directions)
        if kernel is not None:
            return kernel.density_and_color(positions, directions)
        density, features = self.density(positions)
        return density, self.color(features, directions)
