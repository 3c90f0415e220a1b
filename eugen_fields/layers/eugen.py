"""EUGen layers ("EUGens: Efficient, Unified, and General Dense Layers", Kim et al., NeurIPS 2025, arXiv 2410.09771)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation, safe_norm
from eugen_fields.layers.layer import FeatureLayer, LayerStage, affine
from eugen_fields.layers.random_matrices import PROJECTIONS, normal, resolve_seed
from eugen_fields.layers.seeded import SeededMatrix
from eugen_fields.layers.theory.estimator import output_interval
from eugen_fields.layers.theory.polynomials import exact_coefficients, fit_polynomial


def projection_count(order: int, share_projections: bool) -> int:
    """Number of m-row projection matrices G_ij: one per order if shared, else i of them for order i."""
    return order if share_projections else order * (order + 1) // 2


def product_features(projected: Tensor, num_features: int, order: int, share_projections: bool) -> Tensor:
    """The concatenation over i = 1..k of prod_{j<=i} G_ij x (the definition of f(x), before its activation).

    Args:
        projected: all G_ij x side by side, shape (..., projections * m).

    Returns:
        shape (..., order * m). Order 0, the empty product, is the layer's bias.
    """
    if order == 1:
        return projected
    blocks = projected.unflatten(-1, (-1, num_features)).unbind(-2)
    orders = []
    for i in range(1, order + 1):
        start = 0 if share_projections else i * (i - 1) // 2
        product = blocks[start]
        for j in range(1, i):
            product = product * blocks[start + j]
        orders.append(product)
    return torch.cat(orders, dim=-1)


def coefficient_weights(coefficients: Tensor, num_features: int) -> Tensor:
    """a_i / m for every feature of orders 1..k, shape (order * m,), from a_0..a_k: what the weight side is multiplied
    by in the real form of Theorem 3.1 (the paper splits a_i over both sides, with complex roots of its sign)."""
    return (coefficients[1:] / num_features).repeat_interleave(num_features)


def check_sizes(in_features: int, out_features: int, num_features: int, order: int, init: str) -> None:
    """Raises ValueError for a size or a name that no EUGen layer offers."""
    for name, value in (("in_features", in_features), ("out_features", out_features), ("num_features", num_features)):
        if value <= 0:
            raise ValueError(f"{name} is {value}; it must be a positive integer")
    if not 1 <= order <= 4:
        raise ValueError(f"order is {order}; it must be 1, 2, 3 or 4")
    if init not in PROJECTIONS:
        raise ValueError(f"init is {init!r}; it must be one of {', '.join(PROJECTIONS)}")


def stacked_projections(init: str, num_features: int, columns: int, count: int, seed: int, first: int = 0) -> Tensor:
    """`count` unit-variance projections below each other, float64, shape (count * m, columns); streams from `first`."""
    return torch.cat([PROJECTIONS[init](num_features, columns, seed, stream=first + i) for i in range(count)])


def _second_moments(activation: Activation, order: int) -> list[float]:
    """E[activation(product of i standard normals)^2] for i = 1..order, from 16,384 fixed draws."""
    draws = normal(16_384 * order, seed=0).view(order, 16_384)
    products = torch.cumprod(draws, dim=0)
    return activation(products).square().mean(dim=1).tolist()


class EUGenLinear(SeededMatrix, FeatureLayer):
    r"""y = W Phi(concat_{i=1..k} prod_{j<=i} G_ij x+) + b with x+ = [x; |x|] (the paper's EUGen+).

    Shapes: x (..., in_features) to y (..., out_features). The weight side g(W) of the paper is implicit: learned as
    `weight`, shape (out_features, order * num_features). Order 0 of the paper, a constant feature, is `bias`. The
    non-linearity is inside (Phi, or products for order >= 2), so no activation follows the layer.

    At the start, inputs with entries of variance 1 give outputs of variance 1 for every order and activation (for
    relu or identity features at order 1: the variance of the input, whatever it is).

    Args:
        in_features: d.
        out_features: l.
        num_features: m, random features per order.
        order: k, 1 to 4.
        feature_activation: Phi, a name or an element-wise callable (None: identity).
        norm: append the column |x| (a safe norm: twice differentiable at 0). It is stored as |x| / sqrt(d) with weights
            sqrt(d) times larger: the same function, but |x| is sqrt(d) times a typical entry of x, and unscaled one
            step of Adam would move this column that much further than the others.
        share_projections: one G_j for all orders (G_ij = G_j): k projections instead of k (k + 1) / 2.
        train_projections: False keeps G fixed; it is then regenerated from its seed and not stored.
        init: gaussian, rademacher or orthogonal projections.
        bias: add b.
        seed: integer for G and W; None draws one from torch's global generator.
        projection_bias: append the constant 1 to x+ as well, so that every projection has a bias of its own. This is
            how the paper absorbs the bias of a dense layer; conversion and transfer use it.

    Raises:
        ValueError: a size or a name outside what is offered.
    """

    coefficients: tuple[float, ...] | None = None
    fit_error: float | None = None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        num_features: int = 64,
        order: int = 1,
        feature_activation: str | Activation | None = "relu",
        norm: bool = True,
        share_projections: bool = False,
        train_projections: bool = True,
        init: str = "orthogonal",
        bias: bool = True,
        seed: int | None = None,
        projection_bias: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(in_features, out_features, num_features, order, init)
        self.in_features = in_features
        self.out_features = out_features
        self.num_features = num_features
        self.order = order
        self.norm = norm
        self.norm_scale = in_features**-0.5
        self.projection_bias = projection_bias
        self.share_projections = share_projections
        self.train_projections = train_projections
        self.init = init
        self.feature_activation = feature_activation
        self._activation = get_activation(feature_activation)

        seed = resolve_seed(seed)
        if train_projections:
            self.projections = nn.Parameter(self._draw(seed).to(torch.get_default_dtype()))
        else:
            self._register_seeded("projections", seed)
        weight = normal(out_features * order * num_features, seed, stream=1 << 20).view(out_features, order, -1)
        moments = torch.tensor(_second_moments(self._activation, order), dtype=torch.float64)
        weight = weight / (order * num_features * moments.clamp(min=1e-12)).sqrt()[:, None]
        self.weight = nn.Parameter(weight.flatten(1).to(torch.get_default_dtype()))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    @classmethod
    def from_linear(
        cls,
        linear: nn.Linear,
        activation: str | Activation | Sequence[float],
        *,
        num_features: int,
        order: int,
        init: str = "orthogonal",
        seed: int | None = None,
        interval: tuple[float, float] | None = None,
        fit: str = "chebyshev",
        share_projections: bool = False,
        train_projections: bool = True,
    ) -> "EUGenLinear":
        """The unbiased estimator of activation(linear(x)): over the draws of G its mean is p(linear(x)), p the
        polynomial of degree `order` in place of the activation (Theorems 3.1 and 3.4).

        Features are the identity, there is no norm column, and the bias of `linear` is absorbed as in the paper
        (projection_bias). Its variance falls as 1 / num_features: see `estimator_variance`. The polynomial a_0..a_k is
        kept as attribute `coefficients`, its largest error on the interval as `fit_error`. dtype and device are those
        of `linear`, which is left alone.

        Args:
            activation: a name, an element-wise callable, or coefficients a_0..a_k (then order must be k; fit_error 0).
            interval: where the polynomial is fitted. None: mean -+ 3 standard deviations of all outputs of `linear`
                for inputs of mean 0 and variance 1 (`output_interval`). Outside it the polynomial runs away.
            fit: chebyshev, least-squares or bernstein (`fit_polynomial`).

        Raises:
            ValueError: `linear` is no nn.Linear, or an option is outside what is offered.
        """
        if not isinstance(linear, nn.Linear):
            raise ValueError(f"linear is a {type(linear).__name__}; from_linear takes an nn.Linear")
        check_sizes(linear.in_features, linear.out_features, num_features, order, init)
        weight = linear.weight.detach().cpu().double()
        bias = None if linear.bias is None else linear.bias.detach().cpu().double()
        if isinstance(activation, str) or callable(activation):
            interval = output_interval(weight, bias) if interval is None else interval
            coefficients, error = fit_polynomial(activation, order, interval, fit)
        elif interval is not None:
            raise ValueError(f"interval is {interval}, but coefficients are given: leave it out, nothing is fitted")
        else:
            coefficients, error = exact_coefficients(activation, order), 0.0
        layer = cls(
            linear.in_features,
            linear.out_features,
            num_features=num_features,
            order=order,
            feature_activation=None,
            norm=False,
            share_projections=share_projections,
            train_projections=train_projections,
            init=init,
            seed=seed,
            projection_bias=bias is not None,
        ).to(linear.weight)
        plus = weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)
        projected = F.linear(plus, layer.projections.cpu().double())
        products = product_features(projected, num_features, order, share_projections)
        # the layer stores G / sqrt(columns) on both sides of order i, i times each
        unscaled = coefficients * float(plus.shape[1]) ** torch.arange(order + 1, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(products * coefficient_weights(unscaled, num_features))
        layer.bias = nn.Parameter(torch.full_like(linear.weight[:, 0], float(coefficients[0])))
        layer.coefficients, layer.fit_error = tuple(coefficients.tolist()), error
        return layer

    def _draw(self, seed: int) -> Tensor:
        """All G_ij stacked, float64, shape (projections * m, d + norm + projection_bias). Entries have variance
        1 / |x+|^2 for unit-variance x, so that every projection keeps the variance; the norm column holds them divided
        by norm_scale."""
        columns = self.in_features + int(self.norm) + int(self.projection_bias)
        count = projection_count(self.order, self.share_projections)
        scale = math.sqrt(self.in_features * (1 + int(self.norm)) + int(self.projection_bias))
        stacked = stacked_projections(self.init, self.num_features, columns, count, seed) / scale
        if self.norm:
            stacked[:, self.in_features] /= self.norm_scale
        return stacked

    def projection_matrices(self) -> Tensor:
        """All G_ij of the formula stacked, shape (projections * m, d + norm + projection_bias): the columns multiply x,
        then |x| itself, then the constant 1."""
        if not self.norm:
            return self.projections
        scales = torch.ones_like(self.projections[0])
        scales[self.in_features] = self.norm_scale
        return self.projections * scales

    def set_projection_matrices(self, matrices: Tensor) -> None:
        """The inverse of projection_matrices: stores G_ij of the formula, shape (projections * m, columns).

        Raises:
            ValueError: the projections are fixed to a seed, or the shape is another.
        """
        if not self.train_projections:
            raise ValueError("the projections of this layer are drawn from its seed; build it with train_projections")
        if matrices.shape != self.projections.shape:
            raise ValueError(f"projections are {tuple(matrices.shape)}; {tuple(self.projections.shape)} is needed")
        with torch.no_grad():
            self.projections.copy_(matrices)
            if self.norm:
                self.projections[:, self.in_features] /= self.norm_scale

    def features(self, x: Tensor) -> Tensor:
        """Phi of the products, shape (..., order * num_features)."""
        constant = self.projections[:, -1] if self.projection_bias else None
        projected = F.linear(x, self.projections[:, : self.in_features], constant)
        if self.norm:
            projected = torch.addcmul(projected, safe_norm(x), self.projections[:, self.in_features] * self.norm_scale)
        products = product_features(projected, self.num_features, self.order, self.share_projections)
        return self._activation(products)

    def stages(self) -> tuple[LayerStage, ...]:
        names = ("projections",) if self.train_projections else ("seed",)
        matrices = self.projection_matrices()
        constant = matrices[:, -1] if self.projection_bias else None
        features = LayerStage(
            affine(matrices[:, : self.in_features], constant, names, names),
            norm_column=matrices[:, self.in_features] if self.norm else None,
            products=(self.num_features, self.order, self.share_projections) if self.order > 1 else None,
            activation=self._activation,
        )
        return features, self.weight_side()

    def extra_repr(self) -> str:
        return (
            f"{self.in_features}, {self.out_features}, num_features={self.num_features}, order={self.order}, "
            f"feature_activation={self.feature_activation}, norm={self.norm}, "
            f"share_projections={self.share_projections}, train_projections={self.train_projections}, "
            f"init={self.init}, projection_bias={self.projection_bias}"
        )
