"""The flags of the replaced layers, the same in every method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from eugen_fields.kernels import Backend
from eugen_fields.layers.kinds import options_from
from eugen_fields.layers.names import LayerName


@dataclass
class LayerFlags:
    """Kind of the replaced layers and the options of each kind."""

    layer: LayerName = "eugen"
    """Kind of the replaced hidden layers; the others are dense."""
    replace: tuple[int, ...] | None = None
    """Indices of the trunk layers to replace (0 is the first). None: every hidden layer but the first."""
    num_features: int = 64
    """EUGen: random features per order (m). SNNK: random features."""
    order: Literal[1, 2, 3, 4] = 1
    """EUGen: highest order (k). Orders above 1 multiply projections: replace only a few layers with them."""
    feature_activation: Literal["relu", "gelu", "silu", "softplus", "sine", "tanh", "identity"] = "relu"
    """EUGen: activation of the input features."""
    norm: bool = True
    """EUGen: append the norm of the input as a further column."""
    share_projections: bool = False
    """EUGen: one projection for all orders."""
    train_projections: bool = True
    """EUGen, SNNK: train the projections. False keeps them as drawn and out of the checkpoint."""
    init: Literal["gaussian", "rademacher", "orthogonal"] = "orthogonal"
    """EUGen: how the projections are drawn."""
    projection_bias: bool = False
    """EUGen: a bias for every projection."""
    matrix: Literal["gaussian", "ternary", "orthogonal", "hadamard"] = "orthogonal"
    """PRP: the fixed random matrix."""
    rank: int = 0
    """PRP: rank of an extra low-rank term (0: none). Low-rank: the rank (0: as many as num-features)."""

    backend: Backend = "auto"
    """How networks are evaluated. auto: renders, exports and the viewer use fused CUDA kernels (float16 products) where
    these serve the network and agree with torch on test points, training is in torch; fused: training too (bfloat16
    products); torch: never. tcnn: tiny-cuda-nn evaluates and trains dense networks (--pipeline.model.layer dense) and
    frequency encodings of NeRF and Mip-NeRF-style methods, without biases."""

    def layer_settings(self, layer: str | None = None) -> dict[str, Any]:
        """The options of MLP that these flags set for a kind of layer; None: that of `layer`. Options of a kind that
        have no flag here stay at their defaults."""
        return options_from(self, layer or self.layer)
