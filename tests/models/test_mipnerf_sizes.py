"""The sizes of Mip-NeRF-style networks, and the options of their models that are refused by name."""

from __future__ import annotations

import pytest
import torch

from eugen_fields.layers import EUGenLinear
from eugen_fields.models.mipnerf import MipNeRFModelConfig
from eugen_fields.models.proposals.sizes import MIPNERF_SIZES as SIZES


def eugen_parameters(width, features):
    """One order: projections of [x; |x|], the weight and the bias."""
    return features * (width + 1) + features * width + width


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def head_parameters(features, width):
    return (features + 3 * 9 + 1) * width + (width + 1) * 3


@pytest.fixture(scope="module", params=SIZES)
def sized(request):
    """A size, its field and its proposal network (Rademacher projections are drawn in no time)."""
    config = MipNeRFModelConfig(size=request.param, regime="unbounded", init="rademacher")
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    return request.param, config, config.build_field(box), config.build_proposal(box)


def test_sizes_have_the_layers_they_promise(sized):
    name, _, field, proposal = sized
    replaced = [index for index, layer in enumerate(field.trunk.layers) if isinstance(layer, EUGenLinear)]
    layers = {"paper": (5, 6, 7), "default": tuple(range(1, 8)), "tiny": (1, 2, 3)}[name]
    assert tuple(replaced) == layers == field.trunk.replace
    assert len(field.trunk.layers) == {"paper": 9, "default": 9, "tiny": 5}[name]
    proposals = [isinstance(layer, EUGenLinear) for layer in proposal.trunk.layers]
    assert (
        proposals
        == {
            "paper": [False] * 5,
            "default": [False, True, True, True, False],
            "tiny": [False, True, False],
        }[name]
    )


def test_sizes_have_the_parameters_they_promise(sized):
    name, _, field, proposal = sized
    if name == "paper":
        encoded, width = 3 + 2 * 21 * 12, 1024
        trunk = (encoded + 1) * width + 3 * (width + 1) * width + (width + encoded + 1) * width
        trunk += 3 * eugen_parameters(width, 64) + (width + 1) * 257
        expected = trunk + head_parameters(256, 128)
        proposed = (encoded + 1) * 256 + 3 * 257 * 256 + 257
    elif name == "default":
        encoded, width = 3 + 2 * 21 * 12, 256
        trunk = (encoded + 1) * width + 6 * eugen_parameters(width, 64) + (width + 1) * 257
        trunk += 64 * (width + encoded + 1) + 64 * width + width  # the skip connection
        expected = trunk + head_parameters(256, 128)
        proposed = (encoded + 1) * 64 + 3 * eugen_parameters(64, 16) + 65
    else:
        encoded, width = 3 + 2 * 3 * 10, 128
        trunk = (encoded + 1) * width + 3 * eugen_parameters(width, 64) + (width + 1) * 33
        expected = trunk + head_parameters(32, 64)
        proposed = (encoded + 1) * 32 + eugen_parameters(32, 16) + 33
    assert parameters(field) == expected
    assert parameters(proposal) == proposed


def test_sizes_give_what_the_flags_leave_out_and_flags_win(sized):
    name, config, _, _ = sized
    samples = {"paper": 160, "default": 160, "tiny": 48}[name]
    assert config.max_samples_per_ray() == samples
    changed = MipNeRFModelConfig(size=name, proposal_samples=(5, 7), num_samples=3, feature_dim=9)
    assert changed.max_samples_per_ray() == 15
    assert changed.setting("feature_dim") == 9 and changed.setting("layer_width") == config.setting("layer_width")


# Wrong options

TINY = {"size": "tiny", "regime": "bounded", "layer_width": 16}
BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"regime": "auto"}, "regime is still auto"),
        ({"regime": "indoors"}, "regime is 'indoors'"),
        ({"size": "huge"}, "size is 'huge'; it must be one of paper, default, tiny"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"proposal_width": 0}, "proposal_width is 0"),
        ({"position_frequencies": 0}, "position_frequencies is 0"),
        ({"num_samples": 1}, "num_samples is 1; it must be at least 2"),
        ({"proposal_samples": ()}, "proposal_samples is"),
        ({"proposal_samples": (64, 0)}, "proposal_samples is"),
        ({"proposal_samples": (1,)}, "proposal_samples is"),
        ({"appearance_dim": -1}, "appearance_dim is -1"),
        ({"anneal_steps": -5}, "anneal_steps is -5"),
        ({"interlevel_weight": -0.1}, "interlevel_weight is -0.1"),
        ({"distortion_weight": float("nan")}, "distortion_weight is nan"),
        ({"near_plane": 0.0}, "near_plane is 0.0"),
        ({"near_plane": 2.0, "far_plane": 2.0}, "near_plane is 2.0"),
        ({"far_plane": float("inf")}, "far_plane"),
        ({"direction_frequencies": -1}, "num_frequencies is -1"),
        ({"basis": "cube"}, "basis is 'cube'"),
        ({"proposal_layer": "sparse"}, "layer is 'sparse'"),
        ({"skip_connections": (9,)}, "skip_connections names layer 9"),
        ({"num_features": 0}, "num_features is 0"),
    ],
)
def test_wrong_flags_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        config = MipNeRFModelConfig(**{**TINY, **options})
        config.build_field(BOX)
        config.build_proposal(BOX)


def test_the_smallest_flags_that_are_allowed_build():
    config = MipNeRFModelConfig(
        **TINY, num_layers=1, proposal_num_layers=1, proposal_samples=(2,), num_samples=2, anneal_steps=0
    )
    config.check_flags()
    assert config.max_samples_per_ray() == 4
