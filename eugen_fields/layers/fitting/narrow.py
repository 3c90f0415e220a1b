"""The narrow dense network that a chain of EUGen layers is: what it is best trained as, and the way back.

An EUGen layer of order 1 without norm, y = W Phi(G x + g) + b, followed by a linear map A y + a, is a dense layer of m
neurons followed by the map (A W) f + (A b + a): Remark IV of "EUGens: Efficient, Unified, and General Dense Layers"
(arXiv 2410.09771). In these products a network trains better than in its factors, and in fewer multiplications. In
turn every such narrow network is one of EUGen layers, with W = [I; 0] and b = 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eugen_fields.layers.activations import get_activation
from eugen_fields.layers.eugen import EUGenLinear
from eugen_fields.layers.mlp import MLP


class NarrowMLP(nn.Module):
    """The narrow dense form of an MLP with EUGen layers, to be trained. Shapes as of the MLP: x (..., in_dim) to
    y (..., out_dim).

    Args:
        mlp: whose values are taken; it is left alone.

    Raises:
        ValueError: `is_narrow` says that the MLP has no such form.
    """

    def __init__(self, mlp: MLP) -> None:
        super().__init__()
        if not is_narrow(mlp):
            raise ValueError(
                "only MLPs with EUGen layers of order 1, without norm, with trained projections and a bias for each "
                "have a narrow dense form"
            )
        self._skip_connections = mlp.skip_connections
        layers, self._activations = [], []
        before: tuple[Tensor, Tensor] | None = None  # W and b of the layer before, where it is an EUGen layer
        for index, layer in enumerate(mlp.layers):
            weight, bias, activation = _first_map(layer)
            if before is not None:
                skipped = weight.shape[1] - len(before[0])
                bias = bias + weight[:, skipped:] @ before[1]
                weight = torch.cat([weight[:, :skipped], weight[:, skipped:] @ before[0]], dim=1)
            before = _weight_side(layer)
            layers.append(_linear(weight, bias))
            self._activations.append(mlp.activation_of(index) if activation is None else activation)
        if before is not None:
            layers.append(_linear(*before))
            self._activations.append(mlp.activation_of(len(mlp.layers) - 1))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for index, (layer, activation) in enumerate(zip(self.layers, self._activations)):
            y = activation(layer(torch.cat([x, y], dim=-1) if index in self._skip_connections else y))
        return y

    @torch.no_grad()
    def write_to(self, mlp: MLP) -> None:
        """Gives the MLP that this was made of, or a copy of it, the function that this has now."""
        after_eugen = False
        for index, layer in enumerate(mlp.layers):
            linear = self.layers[index]
            weight, bias = linear.get_parameter("weight"), linear.get_parameter("bias")
            read = _first_map(layer)[0].shape[1]
            if after_eugen and weight.shape[1] < read:  # what W = [I; 0] leaves at zero is not read
                weight = torch.cat([weight, weight.new_zeros(len(weight), read - weight.shape[1])], dim=1)
            after_eugen = isinstance(layer, EUGenLinear)
            if isinstance(layer, EUGenLinear):
                layer.set_projection_matrices(torch.cat([weight, bias[:, None]], dim=1))
                assert layer.bias is not None
                layer.weight.copy_(torch.eye(*layer.weight.shape))
                layer.bias.zero_()
            else:
                layer.get_parameter("weight").copy_(weight)
                layer.get_parameter("bias").copy_(bias)
        if after_eugen:
            last, side = self.layers[-1], mlp.layers[-1]
            side.get_parameter("weight").copy_(last.get_parameter("weight"))
            side.get_parameter("bias").copy_(last.get_parameter("bias"))


def is_narrow(mlp: nn.Module) -> bool:
    """Whether an MLP has EUGen layers, and each of them and each other layer merges with what reads it."""
    if not isinstance(mlp, MLP) or mlp.layer != "eugen" or not mlp.replace:
        return False
    *inner, last = mlp.layers
    wide = all(layer.num_features <= layer.out_features for layer in inner if isinstance(layer, EUGenLinear))
    return wide and all(_merges(layer) or _is_dense(layer) for layer in (*inner, last))


def _merges(layer: nn.Module) -> bool:
    if type(layer) is not EUGenLinear or layer.bias is None:
        return False
    return layer.order == 1 and not layer.norm and layer.train_projections and layer.projection_bias


def _is_dense(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear and layer.bias is not None


def _first_map(layer: nn.Module):
    """Weight, bias and activation of what reads the input of a layer; None: the activation is the network's."""
    if isinstance(layer, EUGenLinear):
        matrices = layer.projection_matrices().detach()
        return matrices[:, :-1], matrices[:, -1], get_activation(layer.feature_activation)
    return layer.get_parameter("weight").detach(), layer.get_parameter("bias").detach(), None


def _weight_side(layer: nn.Module) -> tuple[Tensor, Tensor] | None:
    """W and b of an EUGen layer."""
    if not isinstance(layer, EUGenLinear) or layer.bias is None:
        return None
    return layer.weight.detach(), layer.bias.detach()


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear
