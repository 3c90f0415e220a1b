"""The network of nerfstudio's vanilla-nerf with hidden layers chosen by name."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.fields.radiance import RadianceField
from eugen_fields.layers import MLP


class VanillaField(RadianceField):
    """The fine field of nerfstudio's vanilla-nerf, layer by layer: an equal function of positions and directions.

    Source: "NeRF" (Mildenhall et al., 2020), in the sizes and encodings of nerfstudio 1.1.5: 8x256 with a skip
    connection, softplus density, two hidden colour layers of 128. Positions are encoded in scene units.

    Args:
        aabb: the scene box, shape (2, 3). Kept for what renders the field; the network does not use it.
        layer, replace, layer_options: as in eugen_fields.layers.MLP, for the trunk.
    """

    position_scales: Tensor
    direction_scales: Tensor

    def __init__(
        self, aabb: Tensor, *, layer: str = "dense", replace: Sequence[int] | None = None, **layer_options: Any
    ) -> None:
        super().__init__()
        self.register_buffer("aabb", aabb.clone().float())
        self.register_buffer("position_scales", 2.0 * math.pi * 2.0 ** torch.linspace(0.0, 8.0, 10), persistent=False)
        self.register_buffer("direction_scales", 2.0 * math.pi * 2.0 ** torch.linspace(0.0, 4.0, 4), persistent=False)
        self.trunk = MLP(
            3 * (2 * len(self.position_scales) + 1),
            8,
            256,
            None,
            layer=layer,
            replace=replace,
            skip_connections=(4,),
            **layer_options,
        )
        width = self.trunk.out_dim  # 256, or what layers that append have appended
        self.density_head = nn.Linear(width, 1)
        self.color_head = MLP(
            width + 3 * (2 * len(self.direction_scales) + 1), 3, 128, 3, layer="dense", out_activation="sigmoid"
        )

    def encode(self, positions: Tensor) -> Tensor:
        """What the trunk reads, shape (N, 63), at positions (N, 3) in scene units."""
        return _encode(positions, self.position_scales)

    def density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Density per scene unit (N,) and features (N, trunk.out_dim) at positions (N, 3) in scene units."""
        features = self.evaluate_network("trunk", self.encode(positions))
        return F.softplus(self.density_head(features)[..., 0]).float(), features

    def color(self, features: Tensor, directions: Tensor) -> Tensor:
        """RGB in [0, 1], shape (N, 3), from features (N, trunk.out_dim) and unit directions (N, 3)."""
        inputs = torch.cat([_encode(directions, self.direction_scales), features], dim=-1)
        return self.evaluate_network("color_head", inputs).float()


def _encode(x: Tensor, scales: Tensor) -> Tensor:
    """nerfstudio's NeRFEncoding, in its order of channels; unlike that one it takes empty batches."""
    angles = (x[..., :, None] * scales).flatten(-2)
    return torch.cat([torch.sin(angles), torch.sin(angles + math.pi / 2.0), x], dim=-1)


def vanilla_state(checkpoint: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a dense VanillaField (without its box) from the weights of a vanilla-nerf checkpoint.

    Args:
        checkpoint: the checkpoint's "pipeline" entry.

    Raises:
        KeyError: not the weights of a vanilla-nerf of the stock size.
    """
    names = {f"trunk.layers.{index}": f"mlp_base.layers.{index}" for index in range(8)}
    names["density_head"] = "field_output_density.net"
    names |= {"color_head.layers.0": "mlp_head.layers.0", "color_head.layers.1": "mlp_head.layers.1"}
    names["color_head.layers.2"] = "field_heads.0.net"
    return {
        f"{ours}.{part}": checkpoint[f"_model.field_fine.{theirs}.{part}"]
        for ours, theirs in names.items()
        for part in ("weight", "bias")
    }
