"""Options of the replaced layers, shared by all methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from eugen_fields.kernels import Backend
from eugen_fields.layers.kinds import options_from
from eugen_fields.layers.names import LayerName


@dataclass
class LayerFlags:
    """Kind of the replaced layers, and the options of each kind."""

    layer: LayerName = "eugen"
    """Kind of the replaced hidden layers; all others are dense. eugen-residual: EUGen layers that add to what they
    read, trained as a densely connected narrow network."""
    replace: tuple[int, ...] | None = None
    """Indices of the trunk layers to replace (0 is the first). None: every hidden layer but the first, and with
    eugen-residual the first as well."""
    num_features: int = 64
    """Number of random features: per order in EUGen layers (m), in all in SNNK layers, and per layer in those of
    eugen-residual, which it is the width of."""
    order: Literal[1, 2, 3, 4] = 1
    """Highest order (k) of EUGen layers. Orders above 1 multiply projections: replace only a few layers with them."""
    feature_activation: Literal["relu", "gelu", "silu", "softplus", "sine", "tanh", "identity"] = "relu"
    """Activation of the features of EUGen and residual EUGen layers."""
    norm: bool = True
    """Append the norm of the input of EUGen layers as a further column."""
    share_projections: bool = False
    """Use one projection for all orders of EUGen layers."""
    train_projections: bool = True
    """Train the projections of EUGen and SNNK layers. False keeps them as drawn and out of the checkpoint."""
    init: Literal["gaussian", "rademacher", "orthogonal"] = "orthogonal"
    """Distribution of the initial projections of EUGen and residual EUGen layers."""
    projection_bias: bool = False
    """Add a bias to every projection of EUGen layers."""
    matrix: Literal["gaussian", "ternary", "orthogonal", "hadamard"] = "orthogonal"
    """Kind of the fixed random matrix of PRP layers."""
    rank: int = 0
    """Rank of low-rank layers (0: num-features), or of the low-rank term of PRP layers (0: no such term)."""

    backend: Backend = "auto"
    """How networks are evaluated. auto: renders, exports and the viewer use fused CUDA kernels (float16 products) where
    they support the network and agree with torch on test points; training uses torch. fused: training uses them too
    (bfloat16 products). torch: no kernels. tcnn: tiny-cuda-nn evaluates and trains dense networks
    (--pipeline.model.layer dense) and frequency encodings of NeRF and Mip-NeRF-style methods, without biases."""

    def layer_settings(self, layer: str | None = None) -> dict[str, Any]:
        """Keyword arguments of layers.MLP that these options set for a kind of layer; None: that of `layer`. Options of
        a kind that have no flag here stay at their defaults."""
        return options_from(self, layer or self.layer)
