"""What tests of folding share: MLPs of every layer kind, and the comparison of a folded network with its original."""

import torch
from torch import nn

from eugen_fields.layers import MLP, EUGenLinear, LowRankLinear, PRPLinear, ResidualEUGenLayer, SNNKLinear

NUM_LAYERS = 6
WIDTH = 20
ALL_HIDDEN = tuple(range(1, NUM_LAYERS - 1))
KINDS = {
    "dense": {},
    "eugen": {"num_features": 4},
    "eugen without norm": {"num_features": 4, "norm": False},
    "eugen wide": {"num_features": 24},
    "eugen order 2": {"num_features": 4, "order": 2},
    "eugen projection bias": {"num_features": 8, "projection_bias": True},  # 4 relu features all die at this seed
    "eugen shared order 2": {"num_features": 4, "order": 2, "share_projections": True, "norm": False},
    "eugen-residual": {"num_features": 4},
    "prp": {},
    "prp rank": {"rank": 2},
    "low-rank": {"rank": 3},
    "snnk": {"num_features": 4},
    "snnk wide": {"num_features": 24},
}


def kind_of(name):
    return name.split(" ")[0]


def values(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def perturbed(module, seed=0, size=0.05):
    """In float64, with every parameter moved: biases are not 0, PRP's low-rank term is not 0."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def build(name, out_dim=3, in_dim=5, **options):
    torch.manual_seed(1)
    merged = {"layer": kind_of(name), "seed": 5, **KINDS[name], **options}
    if merged["layer"] == "eugen-residual" and out_dim and merged.get("replace"):  # the last layer cannot be one
        merged["replace"] = tuple(index for index in merged["replace"] if index < NUM_LAYERS - 1)
    return perturbed(MLP(in_dim, NUM_LAYERS, WIDTH, out_dim, **merged))


def assert_same(folded, module, x):
    """Outputs and gradients in the input agree to 1e-10 of their size."""
    results = []
    for network in (folded, module):
        inputs = x.clone().requires_grad_()
        y = network(inputs)
        weights = torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).view_as(y)
        results.append((y.detach(), *torch.autograd.grad((weights * y).sum(), inputs)))
    for value, expected in zip(*results):
        assert float(expected.abs().max()) > 0
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))


def multiplications(module):
    """Of the matrix products of the unfolded network, for one input; scales and norm columns not counted."""
    total = 0
    for layer in module.modules():
        if isinstance(layer, (EUGenLinear, SNNKLinear)):
            total += layer.projections.shape[0] * layer.in_features + layer.weight.numel()
        elif isinstance(layer, PRPLinear):
            total += layer.in_features * layer.out_features + layer.rank * (layer.in_features + layer.out_features)
        elif isinstance(layer, LowRankLinear):
            total += layer.down.numel() + layer.up.numel()
        elif isinstance(layer, (nn.Linear, ResidualEUGenLayer)):
            total += layer.weight.numel()
    return total
