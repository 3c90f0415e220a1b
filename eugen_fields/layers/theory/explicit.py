"""EUGen layers as defined, with an explicit weight side ("EUGens: Efficient, Unified, and General Dense Layers", Kim et
al., NeurIPS 2025, arXiv 2410.09771)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation, safe_norm
from eugen_fields.layers.eugen import (
    EUGenLinear,
    check_sizes,
    coefficient_weights,
    product_features,
    projection_count,
    stacked_projections,
)
from eugen_fields.layers.layer import Layer, LayerStage
from eugen_fields.layers.random_matrices import normal, resolve_seed
from eugen_fields.layers.theory.polynomials import exact_coefficients


class ExplicitEUGenLinear(Layer):
    r"""y = g(W) f(x), f(x) = Phi(concat_i prod_{j<=i} G_ij x+) and g(W) = Psi(concat_i prod_{j<=i} G_ij w+) a_i / m.

    Shapes: x (..., in_features) to y (..., out_features). x+ = [x; |x|; 1] and w+ = [w; 1; b], without the middle
    entry where `norm` is off and without the last where `bias` is. Trained: `weight` W (l, d), `bias` b (l,),
    `projections` (all G_ij stacked, unit-variance entries at the start) and, if asked for, `weight_projections`.

    This is the real form of the paper's layer: it splits a_i / m over both sides, with complex roots where a_i < 0;
    here all of it, sign included, multiplies the weight side. Order 0, whose features are constants, adds a_0. With
    Phi = Psi = identity and norm off, y is an unbiased estimate of sum_i a_i (W x + b)^i (Theorem 3.1). With
    activations the layer is what is trained, and then `precompute` gives the form to run.

    Args:
        in_features: d.
        out_features: l.
        num_features: m, random features per order.
        order: k, 1 to 4.
        feature_activation: Phi, a name or an element-wise callable (None: identity).
        weight_activation: Psi, likewise.
        coefficients: a_0..a_k; None: all 1.
        norm: the |x| of x+ (a safe norm: twice differentiable at 0) and the 1 of w+.
        share_projections: one G_j for all orders (G_ij = G_j).
        separate_projections: a matrix H of its own for the weight side (the paper's EUGen+): no estimator of anything
            any more, but free to train.
        init: gaussian, rademacher or orthogonal projections.
        bias: absorb a bias b, zero at the start, as the last entry of w+.
        seed: integer for G, H and W; None draws one from torch's global generator.

    Raises:
        ValueError: a size or a name outside what is offered, or coefficients that are not k + 1 finite numbers.
    """

    holds_activation = True

    coefficients: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        num_features: int = 64,
        order: int = 1,
        feature_activation: str | Activation | None = None,
        weight_activation: str | Activation | None = None,
        coefficients: Sequence[float] | None = None,
        norm: bool = True,
        share_projections: bool = False,
        separate_projections: bool = False,
        init: str = "orthogonal",
        bias: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_sizes(in_features, out_features, num_features, order, init)
        self.in_features = in_features
        self.out_features = out_features
        self.num_features = num_features
        self.order = order
        self.norm = norm
        self.share_projections = share_projections
        self.init = init
        self.feature_activation = feature_activation
        self.weight_activation = weight_activation
        self._feature_activation = get_activation(feature_activation)
        self._weight_activation = get_activation(weight_activation)

        dtype, seed = torch.get_default_dtype(), resolve_seed(seed)
        given = [1.0] * (order + 1) if coefficients is None else coefficients
        self.register_buffer("coefficients", exact_coefficients(given, order).to(dtype))
        columns = in_features + int(norm) + int(bias)
        count = projection_count(order, share_projections)
        self.projections = nn.Parameter(stacked_projections(init, num_features, columns, count, seed).to(dtype))
        self.weight_projections = None
        if separate_projections:
            matrix = stacked_projections(init, num_features, columns, count, seed, first=count)
            self.weight_projections = nn.Parameter(matrix.to(dtype))
        weight = normal(out_features * in_features, seed, stream=1 << 20).view(out_features, in_features)
        self.weight = nn.Parameter((weight / in_features**0.5).to(dtype))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def features(self, x: Tensor) -> Tensor:
        """f(x) without its constant order 0, shape (..., order * num_features)."""
        parts = [x]
        if self.norm:
            parts.append(safe_norm(x))
        if self.bias is not None:
            parts.append(torch.ones_like(x[..., :1]))
        return self._feature_activation(self._products(torch.cat(parts, dim=-1), self.projections))

    def weight_features(self) -> Tensor:
        """g(W) with its a_i / m, without order 0, shape (out_features, order * num_features)."""
        parts: list[Tensor] = [self.weight]
        if self.norm:
            parts.append(torch.ones_like(self.weight[:, :1]))
        if self.bias is not None:
            parts.append(self.bias[:, None])
        matrices = self.projections if self.weight_projections is None else self.weight_projections
        products = self._products(torch.cat(parts, dim=-1), matrices)
        return self._weight_activation(products) * coefficient_weights(self.coefficients, self.num_features)

    def _products(self, plus: Tensor, matrices: Tensor) -> Tensor:
        return product_features(F.linear(plus, matrices), self.num_features, self.order, self.share_projections)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.features(x), self.weight_features()) + self.coefficients[0]

    def precompute(self) -> EUGenLinear:
        """The implicit form: an EUGenLinear of its own with the same outputs, its weight the value of g(W) now. It runs
        without the weight side: O(m d k^2 + m l) multiplications for an input (O(m d k + m l) if projections are
        shared)."""
        layer = EUGenLinear(
            self.in_features,
            self.out_features,
            num_features=self.num_features,
            order=self.order,
            feature_activation=self.feature_activation,
            norm=self.norm,
            share_projections=self.share_projections,
            init=self.init,
            seed=0,  # what it draws is replaced below
            projection_bias=self.bias is not None,
        ).to(self.weight)
        layer.set_projection_matrices(self.projections)
        with torch.no_grad():
            layer.weight.copy_(self.weight_features())
        layer.bias = nn.Parameter(self.coefficients[0].repeat(self.out_features))
        return layer

    def stages(self) -> tuple[LayerStage, ...]:
        """Those of the implicit form, with the names of this one's entries."""
        features, weight_side = self.precompute().stages()
        matrices = "projections" if self.weight_projections is None else "weight_projections"
        names = ("weight", matrices, "coefficients") + (("bias",) if self.bias is not None else ())
        linear = weight_side.linear._replace(weight_names=names, bias_names=("coefficients",))
        return features, weight_side._replace(linear=linear)

    def extra_repr(self) -> str:
        return (
            f"{self.in_features}, {self.out_features}, num_features={self.num_features}, order={self.order}, "
            f"feature_activation={self.feature_activation}, weight_activation={self.weight_activation}, "
            f"norm={self.norm}, share_projections={self.share_projections}, "
            f"separate_projections={self.weight_projections is not None}, init={self.init}, "
            f"bias={self.bias is not None}"
        )
