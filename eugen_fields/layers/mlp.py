"""A multilayer perceptron in which chosen hidden layers are of any kind of LAYER_KINDS, and the others dense."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation
from eugen_fields.layers.kinds import LAYER_KINDS, check_options
from eugen_fields.layers.random_matrices import resolve_seed


class MLP(nn.Module):
    """`num_layers` layers: in_dim -> layer_width -> ... -> out_dim.

    Shapes: x (..., in_dim) to y (..., out_dim). Replaced layers that hold their own non-linearity (EUGen, SNNK) get no
    activation after them (SNNK layers draw their frequencies from `activation` instead); all others are followed by
    `activation`, and the last layer by `out_activation`.

    Args:
        in_dim: input width.
        num_layers: number of layers, the last one included.
        layer_width: width of the hidden layers.
        out_dim: output width; None for a trunk whose last layer is a hidden one.
        layer: kind of the replaced layers, one of LAYER_KINDS.
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
        self.layer_options = layer_options
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
            name, options = (layer, layer_options) if index in replace else ("dense", {})
            kind, layer_gain = LAYER_KINDS[name], 1.0 if last and out_dim is not None else gain
            layer_seed = base_seed + (index << 32)
            new = kind.build(width_in, width_out, gain=layer_gain, activation=activation, seed=layer_seed, **options)
            layers.append(new)
            own = last_activation if last else hidden_activation
            activations.append(get_activation(None) if kind.holds_activation and not (last and out_activation) else own)
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
