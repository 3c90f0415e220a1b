"""The contestants of eugen-bench frontier: what they are made of, and what they cost by independent counts."""

from __future__ import annotations

import pytest
from torch import nn

from eugen_fields.benchmark.quality.frontier.frontier_contestants import NETWORKS, Network, chosen_networks, known
from eugen_fields.benchmark.quality.frontier.frontier_costs import build, costs
from eugen_fields.errors import InputError
from eugen_fields.layers import PRPLinear

POSITION, WIDTH, OUT = 3 + 2 * 3 * 10, 128, 33
"""Widths of the encoded position and of the hidden layers, and the outputs of the trunk: density and 32 features."""
COLOR_HEAD = (32 + 3 + 2 * 3 * 4) * 64 + 64 * 3


def trunk_multiplications(network: Network) -> int:
    """Multiplications of a trunk with four hidden layers, folded, by the formulas of its kind."""
    kind, options = network.parsed.layer, network.parsed.options
    skips = options.get("skip_connections", ())
    m = options.get("num_features", 32)
    if kind == "dense":
        width = options.get("layer_width", WIDTH)
        hidden = sum(width * (width + POSITION * (layer in skips)) for layer in (1, 2, 3))
        return POSITION * width + hidden + (width + POSITION * (4 in skips)) * OUT
    if kind == "eugen-residual":
        return sum(m * (POSITION + layer * m) for layer in range(4)) + (POSITION + 4 * m) * OUT
    first, last = POSITION * WIDTH, WIDTH * OUT
    if kind == "prp":
        return first + 3 * WIDTH**2 + last
    if kind == "low-rank":
        return first + 3 * 2 * WIDTH * options["rank"] + last
    # EUGen of order 1 and SNNK: weight sides go into the next projections, and two norms need a factor of theirs
    assert kind in ("eugen", "snnk")
    with_norm = options.get("norm", not options.get("dense_start"))
    norms = 2 * m * (m + 1) if with_norm else 0
    return first + m * (WIDTH + m + m + OUT) + norms + m * POSITION * len(skips)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_contestant_costs_what_its_formula_says(name: str) -> None:
    network = NETWORKS[name]
    field = build(network)
    found = costs(field)
    expected = trunk_multiplications(network) + COLOR_HEAD
    assert found["multiplications"] == expected
    saved = 3 * (WIDTH**2 - 2 * WIDTH) if "hadamard" in name else 0
    assert found["transform_multiplications"] == expected - saved
    assert found["parameters"] == sum(value.numel() for value in field.parameters())
    assert 0 < found["compact_bytes"] <= sum(value.nbytes for value in field.state_dict().values())


def test_bytes_are_those_of_the_smaller_form_and_of_seeds() -> None:
    dense, eugen, prp = (costs(build(NETWORKS[name])) for name in ("dense-128", "eugen-32", "prp"))
    box = 6 * 4
    assert dense["compact_bytes"] == 4 * dense["parameters"] + box
    assert eugen["compact_bytes"] < 4 * eugen["parameters"]  # the folded form
    # of each random matrix of 16,384 numbers there is no more than two vectors and a bias
    assert prp["compact_bytes"] < dense["compact_bytes"] - 3 * 4 * (WIDTH**2 - 3 * WIDTH)


def test_names_say_what_is_inside() -> None:
    """Families differ in kinds and flags, members of a family in one size."""
    titles = [network.title for network in NETWORKS.values()]
    assert len(set(titles)) == len(titles)
    for name, network in NETWORKS.items():
        assert network.name == name
        kind = network.parsed.layer
        assert (kind == "dense") == name.startswith("dense") and (kind == "prp") == name.startswith("prp")
        replaced = [layer for layer in build(network).trunk.layers if not isinstance(layer, nn.Linear)]
        assert (not replaced) == (kind == "dense")
        assert all(isinstance(layer, PRPLinear) == (kind == "prp") for layer in replaced)
    assert {network.parsed.options.get("layer_width", 128) for network in NETWORKS.values()} >= {32, 62, 128}


def test_unknown_names_are_refused_with_those_there_are() -> None:
    assert chosen_networks(None) == list(NETWORKS.values())
    assert [network.name for network in chosen_networks(("prp", "eugen-16", "prp"))] == ["prp", "eugen-16"]
    with pytest.raises(InputError) as caught:
        chosen_networks(("prp", "eugen-17"))
    assert "--contestants eugen-17: there is no such contestant" in caught.value.message
    assert all(name in caught.value.message for name in NETWORKS)


def test_results_of_other_flags_are_not_of_the_contestant() -> None:
    runs = [
        {"contestant": "prp", "layer": "prp"},
        {"contestant": "prp", "layer": "prp:rank=1"},
        {"contestant": "gone", "layer": "prp"},
    ]
    assert known(runs) == runs[:1]
