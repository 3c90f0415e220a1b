"""Residual EUGen networks in factors: h_l = h_{l-1} + W_l Phi(G_l [h_{l-1}; x] + g_l) + b_l, with G and W trained.

[This library's extension of "EUGens: Efficient, Unified, and General Dense Layers", Kim et al., NeurIPS 2025, arXiv
2410.09771.] The same functions as MLPs of residual EUGen layers (residual.py), and back, both exactly:

    ResidualEUGen.folded_parameters         A_l = G_l [P, W_1, .., W_{l-1}; I, 0, .., 0],  B = C [P, W_1, .., W_L]
    ResidualEUGen.from_folded_parameters    a state of width d + L m that every W_l, of one-hot columns, writes f_l into

with h_0 = P x. Trained in factors such a network has more parameters and takes longer for the same function; they are
for comparison, and for networks that come as factors.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation
from eugen_fields.layers.eugen import EUGenLinear
from eugen_fields.layers.layer import Affine
from eugen_fields.layers.mlp import MLP
from eugen_fields.layers.random_matrices import resolve_seed
from eugen_fields.layers.residual import ResidualEUGenLayer


class ResidualEUGen(nn.Module):
    """y = C h_L + c with h_l = h_{l-1} + W_l Phi(G_l [h_{l-1}; x] + g_l) + b_l and h_0 = [x; 0].

    Shapes: x (..., in_dim) to y (..., out_dim). h_0 is x with zeros behind it, up to `width` entries: with a dense
    layer for h_0 there would be a further matrix to fold and, without an activation behind it, nothing gained; and only
    so every densely connected network has factors. g_l is the projection bias of an EUGen layer, a column of G_l that
    multiplies 1: without it, c_l of the folded parameters could not be any vector. There is no norm column (see
    residual.ResidualEUGenLayer).

    Args:
        in_dim: d.
        num_layers: L, residual layers; the linear layer at the end is not counted.
        width: of h, at least in_dim.
        out_dim: output width.
        num_features: m, for each layer.
        feature_activation: Phi, a name or an element-wise callable (None: identity).
        init: gaussian, rademacher or orthogonal projections.
        seed: base seed of the layers; None draws one from torch's global generator.

    Raises:
        ValueError: a size or a name outside what is offered.
    """

    def __init__(
        self,
        in_dim: int,
        num_layers: int,
        width: int,
        out_dim: int,
        *,
        num_features: int = 64,
        feature_activation: str | Activation | None = "relu",
        init: str = "orthogonal",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("in_dim", in_dim), ("num_layers", num_layers), ("out_dim", out_dim)):
            if value <= 0:
                raise ValueError(f"{name} is {value}; it must be a positive integer")
        if width < in_dim:
            raise ValueError(f"width is {width}; it must be at least in_dim, {in_dim}, to hold the input")
        self.in_dim = in_dim
        self.width = width
        self.out_dim = out_dim
        base_seed = resolve_seed(seed)
        options: dict[str, Any] = {"num_features": num_features, "feature_activation": feature_activation, "init": init}
        self.layers = nn.ModuleList(
            EUGenLinear(
                width + in_dim, width, norm=False, projection_bias=True, seed=base_seed + (index << 32), **options
            )
            for index in range(num_layers)
        )
        self.output = nn.Linear(width, out_dim)
        with torch.no_grad():
            for layer in self.eugen_layers():
                layer.weight.div_(math.sqrt(num_layers))  # all together add to h about as much as it starts with
            nn.init.normal_(self.output.weight, std=1.0 / math.sqrt(width))
            nn.init.zeros_(self.output.bias)

    def eugen_layers(self) -> list[EUGenLinear]:
        """G_l, g_l, W_l and b_l."""
        return [layer for layer in self.layers if isinstance(layer, EUGenLinear)]

    def forward(self, x: Tensor) -> Tensor:
        h = F.pad(x, (0, self.width - self.in_dim))
        for layer in self.layers:
            h = h + layer(torch.cat([h, x], dim=-1))
        return self.output(h)

    def folded_maps(self) -> list[Affine]:
        """A_l and c_l of every layer, then B and b: maps of [x; f_1; .., f_{l-1}], with shapes (m, d + (l - 1) m) and
        (out_dim, d + L m), and gradients that lead back to the factors. Names are those of this module's entries."""
        d = self.in_dim
        like = self.output.weight
        start = F.pad(torch.eye(d, dtype=like.dtype, device=like.device), (0, 0, 0, self.width - d))
        h = Affine(start, like.new_zeros(self.width), (), ())
        maps = []
        for index, layer in enumerate(self.eugen_layers()):
            own = f"layers.{index}."
            of_h, of_x, constant = layer.projections.split([self.width, d, 1], dim=1)
            names = (f"{own}projections",)
            read = Affine(of_h, constant[:, 0], names, names).after(h)
            maps.append(read._replace(weight=read.weight + F.pad(of_x, (0, read.weight.shape[1] - d))))
            assert layer.bias is not None
            h = Affine(
                torch.cat([h.weight, layer.weight], dim=1),
                h.bias + layer.bias,
                (*h.weight_names, f"{own}weight"),
                (*h.bias_names, f"{own}bias"),
            )
        maps.append(Affine(self.output.weight, self.output.bias, ("output.weight",), ("output.bias",)).after(h))
        return maps

    @torch.no_grad()
    def folded_parameters(self) -> MLP:
        """The same function as an MLP of residual EUGen layers, with dtype, device and training mode kept."""
        first = self.eugen_layers()[0]
        mlp = MLP(
            self.in_dim,
            len(self.layers) + 1,
            self.width,
            self.out_dim,
            layer="eugen-residual",
            num_features=first.num_features,
            feature_activation=first.feature_activation,
            init=first.init,
            seed=0,
        ).to(self.output.weight)
        for layer, folded in zip(mlp.layers, self.folded_maps()):
            layer.get_parameter("weight").copy_(folded.weight)
            layer.get_parameter("bias").copy_(folded.bias)
        return mlp.train(self.training)

    @classmethod
    @torch.no_grad()
    def from_folded_parameters(cls, mlp: MLP) -> "ResidualEUGen":
        """The same function in factors: of width d + L m, h_l being [x; f_1; ..; f_l; 0; ..; 0].

        Raises:
            ValueError: the MLP is not residual EUGen layers, each with a bias, and a linear one behind them.
        """
        layers = [layer for layer in mlp.layers if isinstance(layer, ResidualEUGenLayer)]
        output = mlp.layers[-1]
        plain = type(output) is nn.Linear and mlp.activation_of(len(layers)) is get_activation(None)
        if not layers or len(layers) != len(mlp.layers) - 1 or not isinstance(output, nn.Linear) or not plain:
            raise ValueError(
                "only an MLP of residual EUGen layers with a linear layer behind them, and no output activation, has "
                "factors"
            )
        if any(layer.bias is None for layer in (*layers, output)):
            raise ValueError("a layer has no bias; factors need one in each")
        d, first = mlp.in_dim, layers[0]
        network = cls(
            d,
            len(layers),
            output.in_features,
            output.out_features,
            num_features=first.num_features,
            feature_activation=first.feature_activation,
            init=first.init,
            seed=0,
        ).to(output.weight)
        for layer, residual in zip(network.eugen_layers(), layers):
            for parameter in layer.parameters():
                parameter.zero_()
            assert residual.bias is not None
            layer.projections[:, : residual.in_features].copy_(residual.weight)
            layer.projections[:, -1].copy_(residual.bias)
            layer.weight[residual.in_features : residual.out_features].fill_diagonal_(1.0)
        network.output.load_state_dict(output.state_dict())
        return network.train(mlp.training)
