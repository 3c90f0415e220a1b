"""VanillaField is the fine field of nerfstudio's vanilla-nerf, whatever its layers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from nerfstudio.cameras.rays import Frustums, RaySamples
from nerfstudio.field_components.encodings import NeRFEncoding
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.fields.vanilla_nerf_field import NeRFField as StockField

from eugen_fields.fields import VanillaField
from eugen_fields.fields.vanilla import vanilla_state

AABB = torch.tensor([[-1.5] * 3, [1.5] * 3])


def stock_field() -> StockField:
    """The fine field as nerfstudio's vanilla-nerf builds it."""
    torch.manual_seed(0)
    return StockField(
        position_encoding=NeRFEncoding(3, 10, 0.0, 8.0, include_input=True),
        direction_encoding=NeRFEncoding(3, 4, 0.0, 4.0, include_input=True),
    )


def checkpoint_of(field: StockField) -> dict[str, torch.Tensor]:
    return {f"_model.field_fine.{name}": value for name, value in field.state_dict().items()}


def test_same_density_and_color_as_the_stock_field() -> None:
    stock = stock_field()
    ours = VanillaField(AABB)
    ours.load_state_dict(vanilla_state(checkpoint_of(stock)) | {"aabb": AABB})
    positions = 3.0 * torch.rand(50, 3) - 1.5
    directions = F.normalize(torch.randn(50, 3), dim=-1)
    zeros = torch.zeros(50, 1)
    frustums = Frustums(origins=positions, directions=directions, starts=zeros, ends=zeros, pixel_area=zeros)
    outputs = stock(RaySamples(frustums=frustums))
    density, color = ours(positions, directions)
    torch.testing.assert_close(density, outputs[FieldHeadNames.DENSITY][..., 0])
    torch.testing.assert_close(color, outputs[FieldHeadNames.RGB])


@pytest.mark.parametrize("layer", ["dense", "eugen", "eugen-residual", "prp"])
def test_folded_field_gives_the_same_values(layer: str) -> None:
    options = {"num_features": 16} if "eugen" in layer else {}
    field = VanillaField(AABB, layer=layer, replace=(1, 2), **options).double()
    positions = torch.rand(20, 3, dtype=torch.float64)
    directions = F.normalize(torch.randn(20, 3, dtype=torch.float64), dim=-1)
    for folded, original in zip(field.folded()(positions, directions), field(positions, directions)):
        torch.testing.assert_close(folded, original)


def test_other_weights_are_refused() -> None:
    weights = checkpoint_of(stock_field())
    del weights["_model.field_fine.mlp_base.layers.5.weight"]
    with pytest.raises(KeyError, match="layers.5.weight"):
        vanilla_state(weights)


def test_no_points_are_no_error() -> None:
    density, color = VanillaField(AABB)(torch.zeros(0, 3), torch.zeros(0, 3))
    assert density.shape == (0,) and color.shape == (0, 3)
