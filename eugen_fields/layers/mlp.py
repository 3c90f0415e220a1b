"""A multilayer perceptron in which chosen hidden layers are of any kind of LAYER_KINDS, and the others dense."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation, start_gain
from eugen_fields.layers.kinds import LAYER_KINDS, check_options, check_stands_for_dense
from eugen_fields.layers.layer import AppendingLayer, has_hooks, linear_of_parts
from eugen_fields.layers.random_matrices import resolve_seed


class MLP(nn.Module):
    """`num_layers` layers: in_dim -> layer_width -> ... -> out_dim.

    Shapes: x (..., in_dim) to y (..., out_dim). Replaced layers that hold their own non-linearity (EUGen, SNNK) get no
    activation after them (SNNK layers draw their frequencies from `activation` instead); all others are followed by
    `activation`, and the last layer by `out_activation`.

    Residual EUGen layers append features to what they read, h to [h; f], whatever layer_width is. All of them read the
    MLP's input: it is part of what they read or, behind a dense layer, comes to it as by a skip connection. So does the
    layer behind them, and skip connections to these layers are there whether they are asked for or not.

    Args:
        in_dim: input width.
        num_layers: number of layers, the last one included.
        layer_width: width of the hidden layers; residual EUGen layers have num_features in its place.
        out_dim: output width; None for a trunk whose last layer is a hidden one (of residual EUGen layers that is
            everything that they have appended, and the input in front of it).
        layer: kind of the replaced layers, one of LAYER_KINDS.
        replace: indices of the layers to replace, 0 being the first; None replaces every layer from layer_width to
            layer_width, or the only hidden one, and with residual EUGen layers every layer but the output's. Layers
            that are not named stay dense, so (2, 3, 4) is "three of eight".
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
        appends = LAYER_KINDS[layer].appends
        num_hidden = num_layers - 1 if out_dim is not None else num_layers
        hidden = range(0 if appends or num_hidden == 1 else 1, num_hidden)
        replace = tuple(hidden) if replace is None else tuple(sorted(set(replace)))
        for name, indices in (("replace", replace), ("skip_connections", skip_connections)):
            wrong = [i for i in indices if not 0 <= i < num_layers]
            if wrong:
                raise ValueError(f"{name} names layer {wrong[0]}; the layers are numbered 0 to {num_layers - 1}")
        if out_dim is None and out_activation is not None:
            raise ValueError("out_activation needs an out_dim: without one the last layer is a hidden one")
        if 0 in skip_connections:
            raise ValueError("skip_connections names layer 0, which already gets the input")
        if appends and out_dim is not None and num_layers - 1 in replace:
            raise ValueError(
                f"replace names layer {num_layers - 1}, the last one, but a layer of {layer} has no output of its own "
                "width: leave that layer out"
            )

        self._settings = sizes | {
            "skip_connections": tuple(skip_connections),
            "activation": activation,
            "out_activation": out_activation,
        }
        self.in_dim = in_dim
        self.layer = layer
        self.layer_options = layer_options
        self.replace = replace
        self.activation = activation
        hidden_activation = get_activation(activation)
        last_activation = hidden_activation if out_dim is None else get_activation(out_activation)
        gain = start_gain(hidden_activation)

        base_seed = resolve_seed(seed)
        layers, activations, skips = [], [], []
        width, has_input = in_dim, True  # of what the next layer reads, which may begin with the input
        for index in range(num_layers):
            last = index == num_layers - 1
            width_out = out_dim if last and out_dim is not None else layer_width
            name, options = (layer, layer_options) if index in replace else ("dense", {})
            kind, layer_gain = LAYER_KINDS[name], 1.0 if last and out_dim is not None else gain
            if not has_input and (kind.appends or index in skip_connections):
                skips.append(index)
                width += in_dim
            layer_seed = base_seed + (index << 32)
            new = kind.build(width, width_out, gain=layer_gain, activation=activation, seed=layer_seed, **options)
            has_input = isinstance(new, AppendingLayer)
            width = new.out_features if isinstance(new, AppendingLayer) else width_out
            layers.append(new)
            own = last_activation if last else hidden_activation
            activations.append(get_activation(None) if kind.holds_activation and not (last and out_activation) else own)
        self.out_dim = width
        self.skip_connections = tuple(skips)
        self.layers = nn.ModuleList(layers)
        self._activations = activations
        self._appends = appends

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
            ValueError: as MLP; a layer to replace is not dense; or layers of the old or the new kind append, which
                changes the widths of all others.
        """
        check_stands_for_dense(layer)
        if any(isinstance(old, AppendingLayer) for old in self.layers):
            raise ValueError(f"this network has layers of {self.layer}, which cannot be replaced")
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
        values = (x,)  # what the next layer reads, in parts
        for index, layer in enumerate(self.layers):
            if index in self.skip_connections:
                values = (x, *values)
            if isinstance(layer, AppendingLayer) and not has_hooks(layer):
                values = (*values, layer.features(*values))
            elif self._appends and type(layer) is nn.Linear and not has_hooks(layer):
                values = (self._activations[index](linear_of_parts(values, layer.weight, layer.bias)),)
            else:
                values = (self._activations[index](layer(_side_by_side(values))),)
        return _side_by_side(values)


def _side_by_side(values: tuple[Tensor, ...]) -> Tensor:
    return values[0] if len(values) == 1 else torch.cat(values, dim=-1)
