"""Fold an MLP of EUGen layers into its inference form.

One learns that folding changes no output (to rounding) and no width, and what it saves: an EUGen layer ends in a linear
map, which merges with the projections of the next layer. Narrow layers (few features) save most; time on a CPU follows
multiplications only roughly, because memory traffic counts as well.
"""

import time

import torch

from eugen_fields.layers import MLP, EUGenLinear, fold, folded_names
from eugen_fields.layers.folding import FoldedMLP

WIDTH = 256
POINTS = 4096


def multiplications(mlp: MLP) -> int:
    """Multiplications of the matrix products for one input, before folding."""
    total = 0
    for layer in mlp.layers:
        if isinstance(layer, EUGenLinear):
            total += layer.projections.shape[0] * layer.in_features
        total += layer.get_parameter("weight").numel()
    return total


def seconds(module: torch.nn.Module, x: torch.Tensor) -> float:
    start = time.perf_counter()
    module(x)
    return time.perf_counter() - start


@torch.no_grad()
def show(num_features: int) -> None:
    mlp = MLP(63, 8, WIDTH, 4, num_features=num_features, seed=0).eval()
    folded = fold(mlp)
    assert isinstance(folded, FoldedMLP)
    x = torch.randn(POINTS, 63)
    expected = mlp(x)
    difference = float((folded(x) - expected).abs().max() / expected.abs().max())
    # side by side, so that a machine that slows down slows both; the fastest of several runs
    runs = [(seconds(mlp, x), seconds(folded, x)) for _ in range(8)]
    before, after = (min(times) for times in zip(*runs))
    parameters = sum(p.numel() for p in mlp.parameters()), sum(b.numel() for b in folded.buffers())
    products = multiplications(mlp), folded.multiplications()
    print(f"{num_features:9} {parameters[0]:10,} {parameters[1]:9,} {products[0]:10,} {products[1]:9,}", end=" ")
    print(f"{difference:11.1e} {before / after:8.2f}x")


if __name__ == "__main__":
    torch.manual_seed(0)
    print(f"MLP of 8 layers of width {WIDTH}, hidden layers EUGen, {POINTS} points")
    print(f"{'':9} {'numbers':>20} {'multiplications':>20} {'largest':>11} {'faster':>9}")
    print(f"{'features':>9} {'before':>10} {'folded':>9} {'before':>10} {'folded':>9} {'difference':>11} {'by':>9}")
    for num_features in (16, 32, 64, 128):
        show(num_features)
    small = fold(MLP(3, 3, 8, 1, num_features=4, seed=0))
    print("\nWhere the entries of a folded MLP of three layers come from:")
    for name, sources in folded_names(small).items():
        print(f"  {name:20} {', '.join(sources) or 'constant'}")
