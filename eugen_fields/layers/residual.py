"""Residual EUGen layers in the parameters that they fold into: densely connected narrow layers.

[This library's extension] "EUGens: Efficient, Unified, and General Dense Layers" (Kim et al., NeurIPS 2025, arXiv
2410.09771) puts its layers one behind the other. Here each adds to what it reads,

    h_l = h_{l-1} + W_l Phi(G_l [h_{l-1}; x] + g_l) + b_l,

with x the input of the network and h_0 = x (or the value of a dense layer in front). As h_l is linear in x and in all
features f_l = Phi(...), G_l and W_l fold into one matrix for each layer and one for the output,

    f_l = Phi(A_l [x; f_1; ..; f_{l-1}] + c_l),    y = B [x; f_1; ..; f_L] + b:

dense connections as in "Densely Connected Convolutional Networks" (Huang et al., CVPR 2017). The layer below is trained
in A_l and c_l; residual_factors.py has the same networks in G_l and W_l.
"""

import math

import torch
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation, start_gain
from eugen_fields.layers.eugen import check_sizes
from eugen_fields.layers.layer import AppendingLayer, LayerStage, affine, linear_of_parts
from eugen_fields.layers.random_matrices import PROJECTIONS, resolve_seed


class ResidualEUGenLayer(AppendingLayer):
    """y = [x; Phi(A x + c)]: a residual EUGen layer in its folded parameters, which appends features to its input.

    Shapes: x (..., in_features) to y (..., in_features + num_features). Of a chain of such layers x is everything so
    far, the input of the network and the features of all layers in front, and a linear layer behind them reads all of
    it. The non-linearity is inside, so no activation follows the layer. There is no norm column: |h_{l-1}| is no norm
    of a part of x, so that both parametrisations would be different functions.

    At the start Phi gets the variance of the input, or twice as much where it halves it (relu), and c is 0.

    Args:
        in_features: d, width of everything so far.
        num_features: m, the features that are appended.
        feature_activation: Phi, a name or an element-wise callable (None: identity).
        init: gaussian, rademacher or orthogonal A.
        bias: add c.
        seed: integer for A; None draws one from torch's global generator.

    Raises:
        ValueError: a size or a name outside what is offered.
    """

    def __init__(
        self,
        in_features: int,
        *,
        num_features: int = 64,
        feature_activation: str | Activation | None = "relu",
        init: str = "orthogonal",
        bias: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_sizes(in_features, in_features + num_features, num_features, 1, init)
        self.in_features = in_features
        self.out_features = in_features + num_features
        self.num_features = num_features
        self.feature_activation = feature_activation
        self.init = init
        self._activation = get_activation(feature_activation)
        drawn = PROJECTIONS[init](num_features, in_features, resolve_seed(seed), stream=0)
        weight = drawn * (start_gain(self._activation) / math.sqrt(in_features))
        self.weight = nn.Parameter(weight.to(torch.get_default_dtype()))
        self.bias = nn.Parameter(torch.zeros(num_features)) if bias else None

    def features(self, *values: Tensor) -> Tensor:
        """Phi(A x + c), what is appended, shape (..., num_features), from x in parts."""
        return self._activation(linear_of_parts(values, self.weight, self.bias))

    def stages(self) -> tuple[LayerStage, ...]:
        return (LayerStage(affine(self.weight, self.bias, ("weight",)), activation=self._activation),)

    def extra_repr(self) -> str:
        return (
            f"{self.in_features}, num_features={self.num_features}, feature_activation={self.feature_activation}, "
            f"init={self.init}"
        )
