"""A multilayer perceptron in which chosen hidden layers are dense, EUGen, PRP, low-rank or SNNK."""

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation
from eugen_fields.layers.eugen import EUGenLinear
from eugen_fields.layers.low_rank import LowRankLinear
from eugen_fields.layers.prp import PRPLinear
from eugen_fields.layers.random_matrices import resolve_seed
from eugen_fields.layers.snnk import SNNKLinear

LAYER_KINDS: dict[str, Callable[..., nn.Module]] = {
    "dense": nn.Linear,
    "eugen": EUGenLinear,
    "prp": PRPLinear,
    "low-rank": LowRankLinear,
    "snnk": SNNKLinear,
}
NON_LINEAR = ("eugen", "snnk")
"""Kinds that hold their own non-linearity: no activation follows them."""
_SET_BY_MLP = {"self", "in_features", "out_features", "activation", "gain", "seed", "device", "dtype"}


def layer_options(layer: str) -> list[str]:
    """Names of the options a layer kind takes. Raises ValueError for an unknown kind."""
    if layer not in LAYER_KINDS:
        raise ValueError(f"layer is {layer!r}; it must be one of {', '.join(LAYER_KINDS)}")
    return [name for name in inspect.signature(LAYER_KINDS[layer]).parameters if name not in _SET_BY_MLP]


class MLP(nn.Module):
    """`num_layers` layers: in_dim -> layer_width -> ... -> out_dim.

    Shapes: x (..., in_dim) to y (..., out_dim). Replaced layers that are EUGen or SNNK hold their own non-linearity and
    get no activation after them (SNNK layers draw their frequencies from `activation` instead); all others are followed
    by `activation`, and the last layer by `out_activation`.

    Args:
        in_dim: input width.
        num_layers: number of layers, the last one included.
        layer_width: width of the hidden layers.
        out_dim: output width; None for a trunk whose last layer is a hidden one.
        layer: kind of the replaced layers: dense, eugen, prp, low-rank or snnk.
        replace: indices of the layers to replace, 0 being the first; None replaces every layer from layer_width to
            layer_width. Layers that are not named stay dense, so (2, 3, 4) is "three of eight".
        skip_connections: indices of the layers that get the MLP's input concatenated before their own.
        activation: of the hidden layers.
        out_activation: of the last layer.
        seed: base seed of the replaced layers; None draws one from torch's global generator.
        layer_options: options of the replaced layers (num_features=..., matrix=..., rank=..., ...).

    Raises:
        ValueError: a size, index, kind or option outside what is offered.
    """

    def __init__(
        self,
        in_dim: int,
        num_layers: int,
        layer_width: int,
        out_dim: int | None,
        *,
        layer: str = "eugen",
        replace: Sequence[int] | None = None,
        skip_connections: Sequence[int] = (),
        activation: str | Activation = "relu",
        out_activation: str | Activation | None = None,
        seed: int | None = None,
        **layer_options: Any,
    ) -> None:
        super().__init__()
        sizes: dict[str, Any] = {
            "in_dim": in_dim,
            "num_layers": num_layers,
            "layer_width": layer_width,
            "out_dim": out_dim,
        }
        for name, value in sizes.items():
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; it must be a positive integer")
        check_options(layer, layer_options)
        hidden = range(1, num_layers - 1 if out_dim is not None else num_layers)
        replace = tuple(hidden) if replace is None else tuple(sorted(set(replace)))
        for name, indices in (("replace", replace), ("skip_connections", skip_connections)):
            wrong = [i for i in indices if not 0 <= i < num_layers]
            if wrong:
                raise ValueError(f"{name} names layer {wrong[0]}; the layers are numbered 0 to {num_layers - 1}")
        if out_dim is None and out_activation is not None:
            raise ValueError("out_activation needs an out_dim: without one the last layer is a hidden one")
        if 0 in skip_connections:
            raise ValueError("skip_connections names layer 0, which already gets the input")

        self._settings = sizes | {
            "skip_connections": tuple(skip_connections),
            "activation": activation,
            "out_activation": out_activation,
        }
        self.in_dim = in_dim
        self.out_dim = layer_width if out_dim is None else out_dim
        self.layer = layer
        self.replace = replace
        self.skip_connections = tuple(skip_connections)
        self.activation = activation
        hidden_activation = get_activation(activation)
        last_activation = hidden_activation if out_dim is None else get_activation(out_activation)
        halving = (get_activation("relu"), get_activation("softplus100"))
        gain = math.sqrt(2.0) if hidden_activation in halving else 1.0

        base_seed = resolve_seed(seed)
        layers, activations = [], []
        for index in range(num_layers):
            last = index == num_layers - 1
            width_in = in_dim if index == 0 else layer_width + (in_dim if index in self.skip_connections else 0)
            width_out = self.out_dim if last else layer_width
            kind, options = (layer, layer_options) if index in replace else ("dense", {})
            layer_gain = 1.0 if last and out_dim is not None else gain
            own_options = {"activation": activation, **options} if kind == "snnk" else options
            layers.append(build_layer(kind, width_in, width_out, layer_gain, base_seed + (index << 32), own_options))
            own = last_activation if last else hidden_activation
            activations.append(get_activation(None) if kind in NON_LINEAR and not (last and out_activation) else own)
        self.layers = nn.ModuleList(layers)
        self._activations = activations

    def activation_of(self, index: int) -> Activation:
        """The function that follows layer `index`; the identity behind layers that hold their own non-linearity."""
        return self._activations[index]

    def with_layers(
        self, layer: str, replace: Sequence[int] | None = None, *, seed: int | None = None, **layer_options: Any
    ) -> "MLP":
        """A copy in which dense layers are new ones of another kind; all others keep their weights.

        Args:
            layer, replace, seed, layer_options: as for MLP.

        Raises:
            ValueError: as MLP; or a layer to replace is not dense.
        """
        new = MLP(**self._settings, layer=layer, replace=replace, seed=seed, **layer_options)
        like = next(self.parameters())
        new = new.to(like.device, like.dtype).train(self.training)
        for index, old in enumerate(self.layers):
            if index not in new.replace:
                new.layers[index] = copy.deepcopy(old)
                new._activations[index] = self._activations[index]  # none behind a layer that holds its own
            elif not isinstance(old, nn.Linear):
                raise ValueError(f"layer {index} is a {type(old).__name__}; only dense layers can be replaced")
        return new

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for index, layer in enumerate(self.layers):
            if index in self.skip_connections:
                h = torch.cat([x, h], dim=-1)
            h = self._activations[index](layer(h))
        return h


def check_options(layer: str, options: dict[str, Any]) -> None:
    """Raises ValueError for an unknown kind, or an option that it does not have."""
    allowed = layer_options(layer)
    unknown = [name for name in options if name not in allowed]
    if unknown:
        raise ValueError(f"{layer} layers have no option {unknown[0]!r}; theirs are: {', '.join(allowed) or 'none'}")


def build_layer(kind: str, width_in: int, width_out: int, gain: float, seed: int, options: dict[str, Any]) -> nn.Module:
    """A fresh layer of a kind; `gain` is for kinds that an activation follows."""
    if kind == "dense":
        linear = nn.Linear(width_in, width_out, **options)
        nn.init.normal_(linear.weight, std=gain / math.sqrt(width_in))
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
        return linear
    if kind == "eugen":
        return EUGenLinear(width_in, width_out, seed=seed, **options)
    if kind == "snnk":
        return SNNKLinear(width_in, width_out, seed=seed, **options)
    if kind == "prp":
        return PRPLinear(width_in, width_out, seed=seed, gain=gain, **options)
    return LowRankLinear(width_in, width_out, seed=seed, gain=gain, **options)
