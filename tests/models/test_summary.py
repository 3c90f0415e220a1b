"""The few rows that say what the networks of a model are."""

from __future__ import annotations

import io

import pytest
import torch

from eugen_fields.models.isdf import ISDFModelConfig
from eugen_fields.models.mipnerf import MipNeRFModelConfig
from eugen_fields.models.nerf import NeRFModelConfig
from eugen_fields.models.summary import multiplications, network_summary, stored_bytes

CUBE = torch.tensor([[-1.0] * 3, [1.0] * 3])


def test_the_layers_that_are_replaced_are_named_also_where_the_size_says_which() -> None:
    config = MipNeRFModelConfig(size="paper", regime="bounded", layer_width=64, num_features=16, feature_dim=16)
    summary = network_summary(config, {"field": config.build_field(CUBE), "proposal": config.build_proposal(CUBE)})
    assert summary["Layers"] == "eugen (layers 5, 6, 7), 16 features, order 1"
    assert list(summary) == ["Layers", "Parameters", "Multiplications per sample", "Size of the weights"]
    field, proposal = summary["Multiplications per sample"].split(" + ")
    assert field.endswith(" (field)") and proposal.endswith(" (proposal)")
    assert summary["Size of the weights"].endswith(" bytes")


@pytest.mark.parametrize("config", [NeRFModelConfig(layer="dense"), ISDFModelConfig(layer="dense")])
def test_dense_networks_replace_nothing(config: NeRFModelConfig | ISDFModelConfig) -> None:
    assert network_summary(config, {"field": config.build_field(CUBE)})["Layers"] == "dense"


def test_folded_eugen_layers_multiply_less_and_prp_layers_store_less() -> None:
    def field(layer: str) -> torch.nn.Module:
        return NeRFModelConfig(layer=layer, layer_width=128, num_features=16).build_field(CUBE)  # type: ignore[arg-type]

    dense, eugen, prp = field("dense"), field("eugen"), field("prp")
    assert multiplications(eugen) < 0.6 * multiplications(dense)
    assert multiplications(prp) == multiplications(dense)
    assert stored_bytes(prp) < 0.6 * stored_bytes(dense)


def test_bytes_are_those_of_the_file_but_for_its_frame() -> None:
    field, file = NeRFModelConfig(layer="prp").build_field(CUBE), io.BytesIO()
    torch.save(field.state_dict(), file)
    assert 0 <= len(file.getvalue()) - stored_bytes(field) < 20000
