"""The registry of layer kinds. Flags, learning rates, benchmarks and messages derive from it.

To add a kind, write its class in a file of its own (layer.py says what it answers) and add a line to LAYER_KINDS. From
outside this library, put it into LAYER_KINDS before eugen_fields.layers.names is imported, which the models do.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from eugen_fields.layers.activations import Activation
from eugen_fields.layers.eugen import EUGenLinear
from eugen_fields.layers.layer import AppendingLayer, FeatureLayer, Layer, LinearLayer
from eugen_fields.layers.low_rank import LowRankLinear
from eugen_fields.layers.prp import PRPLinear
from eugen_fields.layers.residual import ResidualEUGenLayer
from eugen_fields.layers.snnk import SNNKLinear

DEFAULT_RATES: Mapping[str, float] = {
    "nerf": 2e-3,
    "nerf tiny": 1.6e-2,
    "unbounded tiny": 2e-3,
    "planes": 1e-2,
    "sdf": 1.3e-3,
    "sdf tiny": 2.6e-3,
}
"""Adam's learning rate for layers of a kind without rates of its own, by family of methods: full-size and tiny networks
of density and colour, the tiny ones in scenes without bounds, those behind feature planes, full-size and tiny networks
of signed distance."""

DEFAULT_MUON_RATES: Mapping[str, float] = {
    "nerf": 8e-3,
    "nerf tiny": 1.6e-2,
    "unbounded tiny": 8e-3,
    "planes": 1e-2,
    "sdf": 1.3e-3,
    "sdf tiny": 2.6e-3,
}
"""Muon's learning rate of the same, in a training of MUON_STEPS steps."""

MUON_FAMILIES = ("nerf tiny", "unbounded tiny")
"""Families that are trained by Muon where nothing else is asked for: those in which its rates are tuned."""

MUON_STEPS = 2400
_SHORTEST, _SHORTEST_UNBOUNDED = 300, 1000
"""Steps below which Muon's rate grows no more: where there are no bounds, larger updates end in fog."""

DENSE_START_STEPS = 1000
"""Steps of the shortest trainings that begin dense where nothing else is asked for: in shorter ones the dense network
has learnt too little when layers are fitted to it."""


def muon_length_factor(steps: int, family: str) -> float:
    """What Muon's rate for MUON_STEPS steps is multiplied by in a training of another length, of a family of methods.

    Its updates have a size that does not depend on that of the gradient, so that the rate alone says how far weights
    travel: it falls as steps^(-2/3). Trainings below 300 steps get the factor of 300, which is 4, and where there are
    no bounds those below 1,000 the factor of 1,000, which is 1.8.
    """
    return (MUON_STEPS / max(steps, _SHORTEST_UNBOUNDED if family == "unbounded tiny" else _SHORTEST)) ** (2.0 / 3.0)


_SET_BY_MLP = ("self", "in_features", "out_features", "activation", "gain", "seed", "device", "dtype")


@dataclass(frozen=True)
class LayerKind:
    """A kind of layer that stands for a dense one, or one that `appends`.

    Its constructor takes in_features, out_features (not where it appends) and, by name, the options of the kind. Of
    `gain` (standard deviation of the output over that of the input), `activation` (of the network) and `seed` it gets
    those that it has.
    """

    name: str
    cls: type[nn.Module]
    size: str | None = None
    """The option that sets how many features or ranks a layer has: num_features, rank, or None for kinds without."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Adam's learning rates by family of methods, where they are not those of DEFAULT_RATES."""
    muon_rates: Mapping[str, float] = field(default_factory=dict)
    """Muon's learning rates by family of methods, where they are not those of DEFAULT_MUON_RATES."""
    dense_starts: Mapping[str, float] = field(default_factory=dict)
    """Share of the steps that a training begins dense for, by family of methods; 0 in those that are not named."""
    make: Callable[..., nn.Module] | None = None
    """What builds a layer, for a class whose constructor does not give the start that is wanted."""

    @property
    def options(self) -> list[str]:
        """Names of the options that the kind takes."""
        return [name for name in self._parameters if name not in _SET_BY_MLP]

    @property
    def holds_activation(self) -> bool:
        """Whether the non-linearity is inside the layer, so that no activation follows it."""
        return issubclass(self.cls, Layer) and self.cls.holds_activation

    @property
    def appends(self) -> bool:
        """Whether a layer appends features to its input: its outputs are as many as its inputs and features together,
        so that it stands for no dense layer."""
        return issubclass(self.cls, AppendingLayer)

    @property
    def can_be_fitted(self) -> bool:
        """Whether a layer of the kind can be fitted in closed form to a trained dense one."""
        return issubclass(self.cls, (FeatureLayer, LinearLayer))

    def rate(self, family: str) -> float:
        """Adam's learning rate in a family of methods, one of DEFAULT_RATES."""
        return self.rates.get(family, DEFAULT_RATES[family])

    def muon_rate(self, family: str, steps: int) -> float:
        """Muon's learning rate in a family of methods, in a training of so many steps."""
        return self.muon_rates.get(family, DEFAULT_MUON_RATES[family]) * muon_length_factor(steps, family)

    def dense_start(self, family: str, steps: int) -> float:
        """Share of so many training steps for which layers of the kind are dense first."""
        return self.dense_starts.get(family, 0.0) if steps >= DENSE_START_STEPS else 0.0

    def build(
        self,
        in_features: int,
        out_features: int,
        *,
        gain: float,
        activation: str | Activation,
        seed: int,
        **options: Any,
    ) -> nn.Module:
        """A fresh layer. Dense layers draw from torch's global generator, whatever the seed; of kinds that append,
        out_features is not looked at."""
        offered = {"gain": gain, "activation": activation, "seed": seed}
        taken = {name: value for name, value in offered.items() if name in self._parameters}
        sizes = (in_features,) if self.appends else (in_features, out_features)
        return (self.make or self.cls)(*sizes, **taken, **options)

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.make or self.cls).parameters


def _dense(in_features: int, out_features: int, *, gain: float = 1.0, bias: bool = True) -> nn.Linear:
    """A dense layer with weights of standard deviation gain / sqrt(in_features) and biases of 0."""
    linear = nn.Linear(in_features, out_features, bias=bias)
    nn.init.normal_(linear.weight, std=gain / math.sqrt(in_features))
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear


_DENSE_RATES = {"nerf": 1e-3, "nerf tiny": 3.2e-2, "unbounded tiny": 4e-3}
_RESIDUAL_RATES = {"nerf tiny": 3.2e-2, "unbounded tiny": 4e-3}
_PRP_RATES = {"nerf": 5e-3, "nerf tiny": 3.2e-2, "unbounded tiny": 8e-3, "sdf": 5e-3, "sdf tiny": 5e-3}
_FACTOR_MUON_RATES = {"nerf tiny": 8e-3, "unbounded tiny": 4e-3}
"""Of kinds whose matrices are multiplied with each other: a step changes both."""

LAYER_KINDS: dict[str, LayerKind] = {
    kind.name: kind
    for kind in (
        LayerKind("dense", nn.Linear, make=_dense, rates=_DENSE_RATES),
        LayerKind(
            "eugen",
            EUGenLinear,
            size="num_features",
            muon_rates=_FACTOR_MUON_RATES,
            dense_starts={"nerf tiny": 0.2},
        ),
        LayerKind("eugen-residual", ResidualEUGenLayer, size="num_features", rates=_RESIDUAL_RATES),
        LayerKind("prp", PRPLinear, rates=_PRP_RATES),
        LayerKind("low-rank", LowRankLinear, size="rank", muon_rates=_FACTOR_MUON_RATES),
        LayerKind("snnk", SNNKLinear, size="num_features", muon_rates=_FACTOR_MUON_RATES),
    )
}
"""Every kind by its name, in the order in which they are listed everywhere."""


def layer_kind(name: str) -> LayerKind:
    """The kind of a name. Raises ValueError for an unknown one."""
    if name not in LAYER_KINDS:
        raise ValueError(f"layer is {name!r}; it must be one of {', '.join(LAYER_KINDS)}")
    return LAYER_KINDS[name]


def layer_options(layer: str) -> list[str]:
    """Names of the options a layer kind takes. Raises ValueError for an unknown kind."""
    return layer_kind(layer).options


def check_options(layer: str, options: Mapping[str, Any]) -> None:
    """Raises ValueError for an unknown kind, or an option that it does not have."""
    allowed = layer_options(layer)
    unknown = [name for name in options if name not in allowed]
    if unknown:
        raise ValueError(f"{layer} layers have no option {unknown[0]!r}; theirs are: {', '.join(allowed) or 'none'}")


def options_from(flags: Any, layer: str) -> dict[str, Any]:
    """The options of a kind that `flags` has attributes of the same names for.

    `num_features` sets the size of every kind that has one: a low-rank layer whose `rank` is 0 gets it as its rank.
    """
    kind = layer_kind(layer)
    options = {name: getattr(flags, name) for name in kind.options if hasattr(flags, name)}
    if kind.size is not None and not options.get(kind.size):
        options[kind.size] = flags.num_features
    return options


def replacements() -> list[str]:
    """Names of the kinds that stand for dense layers, dense itself left out."""
    return [name for name, kind in LAYER_KINDS.items() if name != "dense" and not kind.appends]


def check_stands_for_dense(layer: str) -> None:
    """Raises ValueError for an unknown kind, or one that cannot take the place of a dense layer."""
    if layer_kind(layer).appends:
        *some, last = replacements()
        raise ValueError(
            f"layer is {layer!r}, whose layers append to their input and stand for no dense layer; choose "
            f"{', '.join(some)} or {last}, or train a network of {layer} from the start"
        )
