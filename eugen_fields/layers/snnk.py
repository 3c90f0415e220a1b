"""SNNK layers with universal random features ("Scalable Neural Network Kernels", Sehanobish et al., ICLR 2024,
arXiv 2310.13225, the section on universal random features), in real arithmetic."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation, safe_norm
from eugen_fields.layers.layer import FeatureLayer, LayerStage, affine
from eugen_fields.layers.random_matrices import normal, orthogonal, resolve_seed, uniform
from eugen_fields.layers.seeded import SeededMatrix

_TRAINED_INTERVAL = (-4.0, 4.0)
"""Pre-activations for which the frequencies of a trained layer are drawn."""
_TRAINED_FREQUENCIES = 8
_LARGEST_WEIGHT_EXPONENT = 80.0
"""e^80 is what float32 holds; estimators beyond it have no use anyway."""


def cosine_series(activation: Activation, interval: tuple[float, float], num_frequencies: int) -> Tensor:
    """a_0..a_N with activation(t) ~ sum_n a_n cos(n pi (t - low) / (high - low)) on the interval, float64, (N + 1,).

    This is the Fourier series of the activation mirrored at the ends of the interval: continuous, so that the
    coefficients fall like 1 / n^2 even for an activation that grows. The integrals are midpoint sums of 4,096 points.
    """
    points = 4096
    place = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    values = activation(interval[0] + (interval[1] - interval[0]) * place)
    waves = torch.cos(math.pi * torch.arange(num_frequencies + 1, dtype=torch.float64)[:, None] * place)
    coefficients = 2.0 * (waves @ values) / points
    coefficients[0] /= 2.0
    return coefficients


def evaluate_series(coefficients: Tensor, interval: tuple[float, float], t: Tensor) -> Tensor:
    """The cosine series at t, any shape. Outside its interval it is periodic, with twice the interval's length."""
    angle = (math.pi / (interval[1] - interval[0])) * (t - interval[0])
    harmonics = torch.arange(len(coefficients), dtype=t.dtype, device=t.device)
    return torch.cos(angle[..., None] * harmonics) @ coefficients.to(t)


def _draw_harmonics(coefficients: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """`count` harmonics n >= 1 drawn with probabilities p_n ~ |a_n|, and all p_n (index n - 1)."""
    sizes = coefficients[1:].abs()
    if not float(sizes.sum()) > 0:
        raise ValueError("the activation is constant on the interval; a dense layer with it needs no random features")
    probabilities = sizes / sizes.sum()
    edges = probabilities.cumsum(0)
    harmonics = torch.searchsorted(edges, uniform(count, seed, stream=(1 << 20) + 1) * edges[-1]) + 1
    return harmonics.clamp(max=len(sizes)), probabilities


def bounded_exp(exponent: Tensor) -> Tensor:
    """exp with its argument held within [-30, 10]: finite in half precision too (e^10 = 22,026), with finite first and
    second derivatives (0 outside)."""
    return exponent.clamp(-30.0, 10.0).exp()


class SNNKLinear(SeededMatrix, FeatureLayer):
    r"""y = W Phi(x) + b with Phi(x)_j = exp(G_j . x - alpha_j^2 |x|^2 / 2): the input side of SNNK's random features.

    Shapes: x (..., in_features) to y (..., out_features). For a Gaussian g and alpha eta = omega, in real form,

        cos(omega w.x + theta) = E_g[ exp(alpha g.x - alpha^2 |x|^2 / 2) exp(eta^2 |w|^2 / 2) cos(eta g.w + theta) ],

    so a dense layer f(Wx + b), its f written as a Fourier series, is an expectation over frequencies and g of a product
    of one real feature of x and one of (w, b): `from_linear` builds that estimator. (The other way round, waves of x
    and exponentials of w, would take two features a projection and grow like exp(|x|^2).) The trained layer keeps the
    input side and learns the weight side as `weight`, shape (out_features, num_features). The non-linearity is inside,
    so no activation follows the layer.

    `projections`, shape (num_features, in_features + 1), holds G_j and, as last column, beta_j = sqrt(d) alpha_j (the
    scale at which one step of Adam moves it as far as the rest). At the start G_j = alpha_j g_j with rows g_j of a
    Gaussian orthogonal matrix, alpha_j^2 proportional to frequencies drawn from the Fourier series of `activation`
    on [-4, 4], and mean beta_j^2 = 1/2: inputs with entries of variance 1 give outputs of variance 1.

    Range: exponents are held within [-30, 10], so the features lie in [e^-30, e^10] and have finite derivatives for
    every x of finite norm. At the start an x of typical direction stays inside up to |x| ~ 6 sqrt(d); far beyond,
    every feature has faded and y = b.

    Args:
        in_features: d.
        out_features: l.
        num_features: m.
        activation: f, a name or an element-wise callable; it decides the frequencies.
        train_projections: False keeps the projections fixed; they are then regenerated from the seed and not stored.
        bias: add b.
        seed: integer for the projections and W; None draws one from torch's global generator.

    Attributes:
        series_error: largest |series - f| on the interval, for a layer made by from_linear; None otherwise.

    Raises:
        ValueError: a size or a name outside what is offered; a constant activation.
    """

    series_error: float | None = None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        num_features: int = 64,
        activation: str | Activation = "relu",
        train_projections: bool = True,
        bias: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        sizes = {"in_features": in_features, "out_features": out_features, "num_features": num_features}
        for name, value in sizes.items():
            if value <= 0:
                raise ValueError(f"{name} is {value}; it must be a positive integer")
        self.in_features = in_features
        self.out_features = out_features
        self.num_features = num_features
        self.activation = activation
        self.train_projections = train_projections
        self._activation = get_activation(activation)

        seed = resolve_seed(seed)
        dtype = torch.get_default_dtype()
        drawn = self._draw(seed)
        if train_projections:
            self.projections = nn.Parameter(drawn.to(dtype))
        else:
            self._register_seeded("projections", seed)
        alpha = drawn[:, -1] * in_features**-0.5
        # E[Phi_j^2] over standard normal x, a Gaussian integral
        spread = 1.0 + 2.0 * alpha.square()
        moments = torch.exp(2.0 * drawn[:, :-1].square().sum(dim=1) / spread) * spread ** (-0.5 * in_features)
        weight = normal(out_features * num_features, seed, stream=1 << 20).view(out_features, num_features)
        self.weight = nn.Parameter((weight / moments.sum().sqrt()).to(dtype))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def _draw(self, seed: int) -> Tensor:
        """G and the column beta, float64, shape (num_features, in_features + 1)."""
        coefficients = cosine_series(self._activation, _TRAINED_INTERVAL, _TRAINED_FREQUENCIES)
        frequencies = _draw_harmonics(coefficients, self.num_features, seed)[0].double()
        return self._projections(torch.sqrt(0.5 * frequencies / frequencies.mean() / self.in_features), seed)

    def _projections(self, alpha: Tensor, seed: int) -> Tensor:
        """Rows alpha_j [g_j, sqrt(d)] with a Gaussian orthogonal matrix g."""
        rows = orthogonal(self.num_features, self.in_features, seed)
        return alpha[:, None] * torch.cat([rows, torch.full_like(rows[:, :1], self.in_features**0.5)], dim=1)

    @classmethod
    def from_linear(
        cls,
        linear: nn.Linear,
        activation: str | Activation,
        *,
        num_features: int,
        interval: tuple[float, float],
        num_frequencies: int = 8,
        input_norm: float | None = None,
        seed: int | None = None,
    ) -> "SNNKLinear":
        """An unbiased estimator of series(linear(x)), where series is the activation's cosine series on `interval`.

        Over the draws of the seed the expected output is exactly the series (for exponents within their range). It is
        the activation up to `series_error` where linear(x) lies in the interval; outside, the series is periodic.
        The variance of one feature grows like exp(2 omega |w| |x|) in the frequency omega: with inputs of norm beyond
        a few times interval / |w|, or with many frequencies, single draws are useless, which is why SNNK layers are
        trained.

        Args:
            linear: the dense layer, W (l, d) and b.
            activation: f, a name or an element-wise callable.
            num_features: m.
            interval: lowest and highest pre-activation expected.
            num_frequencies: harmonics of the series.
            input_norm: typical |x|, at which the variance is least; None takes sqrt(d), entries of variance 1.
            seed: of the estimator; None draws one from torch's global generator.

        Raises:
            ValueError: an empty interval; no frequency; a norm of 0; weights whose features leave float32.
        """
        low, high = interval
        if not low < high:
            raise ValueError(f"interval is {interval}; its first number must be the smaller one")
        if input_norm is not None and not input_norm > 0:
            raise ValueError(f"input_norm is {input_norm}; it must be positive")
        if num_frequencies < 1:
            raise ValueError(f"num_frequencies is {num_frequencies}; it must be a positive integer")
        seed = resolve_seed(seed)
        layer = cls(
            linear.in_features, linear.out_features, num_features=num_features, activation=activation, seed=seed
        )
        weight = linear.weight.detach().cpu().double()
        offset = torch.zeros(len(weight)).double() if linear.bias is None else linear.bias.detach().cpu().double()
        coefficients = cosine_series(layer._activation, interval, num_frequencies)
        harmonics, probabilities = _draw_harmonics(coefficients, num_features, seed)
        omega = harmonics.double() * (math.pi / (high - low))
        squares = weight.square().sum(dim=1)
        # alpha^2 = omega / balance and eta^2 = omega * balance: the variance is least at balance = |x| / |w|
        norm = math.sqrt(linear.in_features) if input_norm is None else input_norm
        balance = norm / math.sqrt(max(float(squares.mean()), 1e-12))
        growth = 0.5 * balance * omega * squares[:, None]
        if float(growth.max()) > _LARGEST_WEIGHT_EXPONENT:
            raise ValueError(
                f"the weight features reach exp({float(growth.max()):.0f}); take a wider interval than {interval} or "
                f"fewer frequencies than {num_frequencies}"
            )
        projections = layer._projections(torch.sqrt(omega / balance), seed)
        angle = balance * (weight @ projections[:, :-1].T) + omega * (offset - low)[:, None]
        sizes = coefficients[harmonics] / (probabilities[harmonics - 1] * num_features)
        layer = layer.to(linear.weight)
        with torch.no_grad():
            layer.projections.copy_(projections)
            layer.weight.copy_(sizes * torch.exp(growth) * torch.cos(angle))
            layer.bias.copy_(coefficients[0].expand(len(weight)))  # type: ignore[union-attr]
        grid = torch.linspace(low, high, 2049, dtype=torch.float64)
        error = evaluate_series(coefficients, interval, grid) - layer._activation(grid)
        layer.series_error = float(error.abs().max())
        return layer

    def squared_norm_column(self) -> Tensor:
        """c (num_features,) with alpha_j^2 |x|^2 / 2 = (c_j |x|)^2."""
        return self.projections[:, -1] * (2.0 * self.in_features) ** -0.5

    def features(self, x: Tensor) -> Tensor:
        """Phi(x), shape (..., num_features)."""
        projected = F.linear(x, self.projections[:, :-1])
        return bounded_exp(projected - (safe_norm(x) * self.squared_norm_column()).square())

    def stages(self) -> tuple[LayerStage, ...]:
        names = ("projections",) if self.train_projections else ("seed",)
        features = LayerStage(
            affine(self.projections[:, :-1], None, names),
            norm_column=self.squared_norm_column(),
            squared_norm=True,
            activation=bounded_exp,
        )
        return features, self.weight_side()

    def extra_repr(self) -> str:
        return (
            f"{self.in_features}, {self.out_features}, num_features={self.num_features}, "
            f"activation={self.activation}, train_projections={self.train_projections}"
        )
