"""EUGen as an estimator: random features whose mean is a polynomial of a dense layer, and how far they stray.

What one learns: EUGenLinear.from_linear turns act(linear(x)) into a layer without training. Over the draws of its
projections its mean is p(linear(x)), p the polynomial that stands in for act (attributes coefficients, fit_error), and
its variance falls as 1 / num_features, as Theorem 3.2 predicts; orthogonal projections do better than predicted, here
at order 1. ExplicitEUGenLinear is the same estimator with its weight side g(W) computed from W at every call, as the
paper defines the layer; `precompute` gives the form that runs without it.
Source: "EUGens: Efficient, Unified, and General Dense Layers" (arXiv 2410.09771).
Run: python scripts/examples/02_unbiased_estimator.py
"""

import torch
from torch import Tensor, nn

from eugen_fields.layers import EUGenLinear, ExplicitEUGenLinear, estimator_variance
from eugen_fields.layers.theory.polynomials import evaluate_polynomial

INPUTS, DRAWS = 15, 100  # 16 columns with the constant that carries the bias


def draws_of(linear: nn.Linear, x: Tensor, num_features: int, **options) -> Tensor:
    """Outputs of DRAWS layers, each with projections of its own, shape (DRAWS, rows, outputs)."""
    layers = (EUGenLinear.from_linear(linear, num_features=num_features, seed=seed, **options) for seed in range(DRAWS))
    return torch.stack([layer(x) for layer in layers])


def main() -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(INPUTS, 4).double(), torch.randn(8, INPUTS, dtype=torch.float64)
    for order in (1, 2, 3, 4):
        layer = EUGenLinear.from_linear(linear, "gelu", num_features=16, order=order)
        print(f"gelu by a polynomial of order {order}: largest error {layer.fit_error:.4f}")

    layer = EUGenLinear.from_linear(linear, "gelu", num_features=16, order=2)
    polynomial = evaluate_polynomial(layer.coefficients or (), linear(x))
    weight = torch.cat([linear.weight, linear.bias[:, None]], dim=1)  # the bias as one more input that is always 1
    x_one = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    print("\norder 2, gaussian: error of the mean (in standard errors), variance measured and predicted")
    print(" features   |mean - p|   measured  predicted")
    for m in (4, 16, 64):
        draws = draws_of(linear, x, m, activation="gelu", order=2, init="gaussian")
        error = (draws.mean(0) - polynomial).abs() / (draws.std(0) / DRAWS**0.5)
        predicted = estimator_variance(weight, x_one, layer.coefficients or (), m).mean()
        print(f"{m:>9}{error.mean():>13.2f}{draws.var(0).mean():>11.4f}{predicted:>11.4f}")

    options = {"num_features": 16, "order": 2, "init": "gaussian", "seed": 0}
    coefficients = layer.coefficients or ()
    explicit = ExplicitEUGenLinear(INPUTS, 4, coefficients=coefficients, norm=False, **options).double()
    explicit.load_state_dict(explicit.state_dict() | {"weight": linear.weight, "bias": linear.bias})
    implicit = EUGenLinear.from_linear(linear, coefficients, **options)
    print("\nexplicit weight side: largest difference to the same projections in another form")
    for name, other in (("from_linear", implicit), ("precompute", explicit.precompute())):
        print(f"{name:>12}{(explicit(x) - other(x)).abs().max():>9.1e}")

    print("\norder 1, identity: variance of independent and of orthogonal projections (16 columns)")
    print(" features   gaussian  orthogonal   ratio")
    for m in (4, 8, 16):
        kinds = ("gaussian", "orthogonal")
        options = {"activation": (0.0, 1.0), "order": 1}
        independent, orthogonal = (draws_of(linear, x, m, init=kind, **options).var(0).mean() for kind in kinds)
        print(f"{m:>9}{independent:>11.4f}{orthogonal:>12.4f}{independent / orthogonal:>7.1f}x")


if __name__ == "__main__":
    with torch.no_grad():
        main()
