"""Networks that are trained against each other: what a name stands for, and how nearly equal sizes are equal."""

from __future__ import annotations

import pytest
import torch

from eugen_fields.benchmark.common.contestants import Contestant, contestant, with_options
from eugen_fields.errors import InputError
from eugen_fields.methods import METHODS

BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])


def model(method: str = "eugen-nerf-tiny", **options):
    return with_options(METHODS[method].pipeline.model, "dense", options)


def sizes(chosen: Contestant, shared) -> tuple[int, int]:
    """Parameters and bytes of the field."""
    field = with_options(shared, chosen.layer, chosen.options).build_field(BOX)
    stored = sum(value.nbytes for value in field.state_dict().values())
    return sum(parameter.numel() for parameter in field.parameters()), stored


@pytest.mark.parametrize("name", ["dense", "eugen", "eugen-residual", "prp", "low-rank", "snnk"])
def test_kinds_are_themselves(name: str) -> None:
    assert contestant(name, model()) == Contestant(name, {})


@pytest.mark.parametrize("options", [{}, {"num_layers": 6, "layer_width": 64, "skip_connections": (3,)}])
def test_narrow_networks_have_the_size_of_what_they_stand_against(options: dict) -> None:
    shared = model(**options)
    full = sizes(contestant("dense", shared), shared)
    for name, like, which in (("narrow-eugen", "eugen", 0), ("narrow-prp", "prp", 1)):
        chosen = contestant(name, shared)
        assert chosen.layer == "dense"
        width = chosen.options["layer_width"]
        found, wanted = sizes(chosen, shared)[which], sizes(contestant(like, shared), shared)[which]
        wider = sizes(Contestant("dense", {"layer_width": width + 1}), shared)[which]
        assert abs(found - wanted) <= (wider - found) / 2 + 1 and found < full[which]


def test_shallow_networks_keep_the_width_and_the_skip_connections_that_are_left() -> None:
    shared = model(num_layers=8, skip_connections=(4,))
    chosen = contestant("shallow", shared)
    depth = chosen.options["num_layers"]
    assert 1 <= depth < 8 and chosen.options["skip_connections"] == ((4,) if depth >= 4 else ())
    wanted = sizes(contestant("eugen", shared), shared)[0]
    found = sizes(chosen, shared)[0]
    for other in (depth - 1, depth + 1):
        skips = {"num_layers": other, "skip_connections": (4,) if other >= 4 else ()}
        assert other < 1 or abs(found - wanted) <= abs(sizes(Contestant("dense", skips), shared)[0] - wanted)


def test_hybrids_replace_every_second_hidden_layer() -> None:
    assert contestant("hybrid-prp", model(num_layers=8)) == Contestant("prp", {"replace": (1, 3, 5, 7)})
    assert contestant("hybrid-eugen", model()) == Contestant("eugen", {"replace": (1, 3)})


def test_flags_follow_behind_colons() -> None:
    chosen = contestant("eugen:num_features=16:replace=2,", model())
    assert chosen == Contestant("eugen", {"num_features": 16, "replace": (2,)})
    wide, narrow = (contestant(f"narrow-eugen:num_features={m}", model()).options["layer_width"] for m in (64, 16))
    assert wide > narrow


def test_methods_whose_sizes_have_names_are_served() -> None:
    shared = model("eugen-mipnerf-tiny")
    chosen = contestant("narrow-prp", shared)
    assert chosen.layer == "dense" and 4 <= chosen.options["layer_width"] < shared.setting("layer_width")


@pytest.mark.parametrize("text, says", [("thin", "there is no thin"), ("eugen:16", "give name=value")])
def test_unknown_names_are_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        contestant(text, model())


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="--options"):
        contestant("narrow-eugen", model(skip_connections=(40,)))
