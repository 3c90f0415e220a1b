"""Residual EUGen layers by flags: every method takes them with nothing but the flag of the kind changed."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch

from eugen_fields.layers import LAYER_KINDS, ResidualEUGenLayer
from eugen_fields.layers.names import LayerName, ReplacementName
from eugen_fields.methods import METHODS
from eugen_fields.models.summary import multiplications, network_summary

BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])


def model_flags(method: str, **flags):
    model = copy.deepcopy(METHODS[method].pipeline.model)
    if hasattr(model, "regime"):
        model.regime = "bounded"
    for name, value in flags.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize("method", METHODS)
def test_defaults_of_a_method_go_with_residual_layers(method: str) -> None:
    trunk = model_flags(method, layer="eugen-residual").build_field(BOX).trunk
    assert trunk.replace and all(type(trunk.layers[index]) is ResidualEUGenLayer for index in trunk.replace)
    assert trunk.replace == (METHODS[method].pipeline.model.replace or tuple(range(len(trunk.layers) - 1)))


def test_choices_are_those_of_the_registry() -> None:
    assert get_args(LayerName) == tuple(LAYER_KINDS)
    assert "eugen-residual" in get_args(LayerName) and "eugen-residual" not in get_args(ReplacementName)


def test_a_tiny_residual_network_by_flags() -> None:
    flags = model_flags("eugen-nerf-tiny", layer="eugen-residual", num_features=28, num_layers=4)
    field = flags.build_field(BOX)
    in_trunk = 28 * (4 * 63 + 6 * 28) + 33 * (63 + 4 * 28)
    assert multiplications(field) == in_trunk + 59 * 64 + 64 * 3 == 21_503
    summary = network_summary(flags, {"field": field})
    assert summary["Layers"] == "eugen-residual (layers 0, 1, 2, 3), 28 features"
    assert summary["Parameters"] == "21,715" and summary["Multiplications per sample"] == "21,503"


def test_a_bad_replace_is_refused_by_name() -> None:
    flags = model_flags("eugen-nerf-tiny", layer="eugen-residual", replace=(2, 4))
    with pytest.raises(ValueError, match="replace names layer 4, the last one"):
        flags.build_field(BOX)
