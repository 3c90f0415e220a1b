"""An EUGen layer in place of a dense one: build it, use it, differentiate it twice, fold it.

What one learns: EUGenLinear takes (..., in_features) to (..., out_features) with its non-linearity inside, so it stands
for nn.Linear and the ReLU behind it; num_features sets its size; second derivatives, which signed-distance losses
need, come from autograd; and a Linear behind it costs nothing once folded. Run: python scripts/examples/01_layer.py
"""

import torch
from torch import nn

from eugen_fields.layers import EUGenLinear, fold

WIDTH = 256


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def main() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 10, WIDTH)  # any leading shape

    print("layer                          output shape        parameters")
    dense = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU())
    print(f"{'nn.Linear + ReLU':<30} {tuple(dense(x).shape)!s:<20}{parameters(dense):>9,}")
    for num_features in (16, 32, 64, 128):
        layer = EUGenLinear(WIDTH, WIDTH, num_features=num_features, seed=0)
        name = f"EUGenLinear, {num_features} features"
        print(f"{name:<30} {tuple(layer(x).shape)!s:<20}{parameters(layer):>9,}")

    # the Laplacian of one output in the input: a smooth activation has second derivatives everywhere
    smooth = EUGenLinear(3, 1, num_features=32, feature_activation="softplus", seed=0).double()
    point = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(lambda p: smooth(p).squeeze(), point)
    assert isinstance(hessian, torch.Tensor)
    step, middle = 1e-4, smooth(point)
    shifts = step * torch.eye(3, dtype=torch.float64)
    differences = torch.stack([smooth(point + s) + smooth(point - s) - 2 * middle for s in shifts]).sum() / step**2
    print(f"\nLaplacian: autograd {float(hessian.trace()):.6f}, finite differences {differences.item():.6f}")

    # a Linear behind an EUGen layer folds into its weight: two layers become one
    network = nn.Sequential(EUGenLinear(WIDTH, WIDTH, num_features=64, seed=0), nn.Linear(WIDTH, WIDTH))
    folded = fold(network)
    difference = (folded(x) - network(x)).abs().max().item()
    unfolded_count = 64 * WIDTH + WIDTH * 64 + WIDTH * WIDTH
    assert callable(folded.multiplications)
    print(f"folded: {unfolded_count:,} -> {folded.multiplications():,} multiplications, outputs {difference:.1e} apart")


if __name__ == "__main__":
    main()
