"""What tests of kernels share: small fields with no parameter left at zero, points, and how far rounding may go."""

import torch
import torch.nn.functional as F

from eugen_fields.fields import NeRFField, SDFField
from eugen_fields.kernels import FusedField
from eugen_fields.layers.folding import fold

AABB = torch.tensor([[-1.0, -2.0, -1.0], [1.0, 1.0, 3.0]])
ROUNDING = {torch.float32: 1e-6, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
"""What one stage may add to the error, relative to the largest value.

An operand of b significant bits is rounded by at most 2^-b of itself, b = 11 in float16 and 8 in bfloat16; a product of
two rounded operands is off by twice that, but sums over many products, whose roundings are independent, stay well
below half of it. Stages neither amplify nor damp (they start with gain 1), so that S of them add up to S times as much
at the worst. float32 rounds by 6e-8, and its sums by a few times more.
"""
KINDS = {
    "dense": {"layer": "dense"},
    "eugen": {"layer": "eugen", "num_features": 16},
    "eugen without norm": {"layer": "eugen", "num_features": 16, "norm": False},
    "eugen wide": {"layer": "eugen", "num_features": 96},
    "eugen order 2": {"layer": "eugen", "num_features": 16, "order": 2},
    "eugen shared order 2": {"layer": "eugen", "num_features": 32, "order": 2, "share_projections": True},
    "eugen projection bias": {"layer": "eugen", "num_features": 24, "projection_bias": True},
    "eugen in some": {"layer": "eugen", "num_features": 20, "replace": (1, 3)},
    "eugen-residual": {"layer": "eugen-residual", "num_features": 20},
    "eugen-residual in some": {"layer": "eugen-residual", "num_features": 24, "replace": (1, 2)},
    "prp": {"layer": "prp"},
    "prp hadamard": {"layer": "prp", "matrix": "hadamard", "replace": (2,)},
    "prp rank": {"layer": "prp", "rank": 2},
    "low-rank": {"layer": "low-rank", "rank": 16},
}


def gradient_tolerance(mlp, dtype):
    """How far gradients of an unfolded MLP may be off, relative to their norm.

    Forward and back, a chain of unfolded layers has up to twice as many stages each way. A relu whose argument is
    within rounding of 0, on either side, may switch, and with it all that flows through it: the share of those is about
    as large as rounding, and squares of differences add up to it. To operands of two bytes softplus100 is a corner too:
    within 0.02 of 0 it turns by half, which is what rounding does to numbers of a few units.
    """
    tolerance = 4 * len(mlp.layers) * ROUNDING[dtype]
    activations = {mlp.activation, *(getattr(layer, "feature_activation", "") for layer in mlp.layers)}
    corners = not activations.isdisjoint({"relu", "softplus100"})
    return tolerance**0.5 if corners and dtype is not torch.float32 else tolerance


def moved(field, device="cpu", size=0.02):
    """The field with every parameter moved: biases are not 0, PRP's low-rank term is not 0."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return field.to(device)


def nerf(device="cpu", **options):
    torch.manual_seed(0)
    small = {"num_layers": 4, "layer_width": 64, "feature_dim": 40, "color_width": 32, "skip_connections": (2,)}
    return moved(NeRFField(AABB, **(small | {"seed": 5} | options)), device)


def isdf(device="cpu", **options):
    torch.manual_seed(0)
    small = {"num_layers": 3, "layer_width": 64, "skip_connections": (2,), "scale": 0.5, "position_frequencies": 2}
    return moved(SDFField(AABB, **(small | {"seed": 5} | options)), device)


def points(count, device="cpu", seed=0):
    """Inside the box and a little around it, (count, 3)."""
    generator = torch.Generator().manual_seed(seed)
    places = AABB[0] + (AABB[1] - AABB[0]) * (1.2 * torch.rand(count, 3, generator=generator) - 0.1)
    return places.to(device)


def directions(count, device="cpu"):
    return F.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(1)), dim=-1).to(device)


def assert_radiance(field, count, dtype=torch.float32):
    """Raw densities (their logarithm) and colours agree with the folded field to rounding."""
    p, d = points(count, field.aabb.device), directions(count, field.aabb.device)
    folded = fold(field)
    with torch.no_grad():
        density, color = folded(p, d)
    fused = FusedField(field, dtype)
    got_density, got_color = fused.density_and_color(p, d)
    assert got_density.shape == (count,) and got_color.shape == (count, 3)
    assert got_density.dtype == got_color.dtype == torch.float32
    stages = len(folded.trunk.stages)
    raw, got_raw = (torch.log(value / field.initial_density) for value in (density, got_density))
    tolerance = stages * ROUNDING[dtype] * max(1.0, float(raw.abs().max()))
    torch.testing.assert_close(got_raw, raw, rtol=0, atol=tolerance)
    # two more stages; the sigmoid's slope is 1/4 at most
    logits = float(torch.logit(color).abs().max())
    tolerance = (stages + 2) * ROUNDING[dtype] * max(1.0, logits) / 4
    torch.testing.assert_close(got_color, color, rtol=0, atol=tolerance)
    torch.testing.assert_close(fused.density(p), got_density, rtol=1e-5, atol=0)


def assert_distance(field, count, dtype=torch.float32):
    """Distances agree with the folded field to rounding."""
    p = points(count, field.aabb.device)
    folded = fold(field)
    with torch.no_grad():
        distance = folded(p)
    got = FusedField(field, dtype).sdf(p)
    assert got.shape == (count,) and got.dtype == torch.float32
    scale = max(field.output_scale, float(distance.abs().max()))
    torch.testing.assert_close(got, distance, rtol=0, atol=len(folded.trunk.stages) * ROUNDING[dtype] * scale)
