"""Options of the replaced layers, shared by all methods."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from eugen_fields.kernels import Backend
from eugen_fields.layers.kinds import LAYER_KINDS, layer_kind, layer_options, options_from
from eugen_fields.layers.names import LayerName

Flags = TypeVar("Flags", bound="LayerFlags")


@dataclass
class LayerFlags:
    """Kind of the replaced layers, and the options of each kind."""

    layer: LayerName = "eugen"
    """Kind of the replaced hidden layers; all others are dense. eugen-residual: EUGen layers that add to what they
    read, trained as a densely connected narrow network."""
    replace: tuple[int, ...] | None = None
    """Indices of the trunk layers to replace (0 is the first). None: every hidden layer but the first, or the only
    one, and with eugen-residual the first as well."""
    num_features: int = 64
    """Number of random features: per order in EUGen layers (m), in all in SNNK layers, and per layer in those of
    eugen-residual, which it is the width of."""
    order: Literal[1, 2, 3, 4] = 1
    """Highest order (k) of EUGen layers. Orders above 1 multiply projections: replace only a few layers with them."""
    feature_activation: Literal["relu", "gelu", "silu", "softplus", "sine", "tanh", "identity"] = "relu"
    """Activation of the features of EUGen and residual EUGen layers."""
    norm: bool | None = None
    """Append the norm of the input of EUGen layers as a further column. None: yes, but not in a training with a dense
    start whose fit takes neurons as projections (see projection-bias)."""
    share_projections: bool = False
    """Use one projection for all orders of EUGen layers."""
    train_projections: bool = True
    """Train the projections of EUGen and SNNK layers. False keeps them as drawn and out of the checkpoint."""
    init: Literal["gaussian", "rademacher", "orthogonal"] = "orthogonal"
    """Distribution of the initial projections of EUGen and residual EUGen layers."""
    projection_bias: bool | None = None
    """Add a bias to every projection of EUGen layers. None: only in a training with a dense start of layers of order 1
    with trained projections, which are then neurons of the dense layers; those have biases."""
    matrix: Literal["gaussian", "ternary", "orthogonal", "hadamard"] = "orthogonal"
    """Kind of the fixed random matrix of PRP layers."""
    rank: int = 0
    """Rank of low-rank layers (0: num-features), or of the low-rank term of PRP layers (0: no such term)."""
    dense_start: float | None = None
    """Share of the training steps, at least 0 and below 1, for which the replaced layers are dense. They are then
    fitted in closed form by layers of their kind, which train for the rest of the steps. 0: no dense start. None: 0.2
    for EUGen layers of tiny NeRF methods in trainings of 1,000 steps or more, and 0 otherwise."""

    backend: Backend = "auto"
    """How networks are evaluated. auto: renders, exports and the viewer use fused CUDA kernels (float16 products) where
    they support the network and agree with torch on test points; training uses torch. fused: training uses them too
    (bfloat16 products). torch: no kernels. tcnn: tiny-cuda-nn evaluates and trains dense networks
    (--pipeline.model.layer dense) and frequency encodings of NeRF and Mip-NeRF-style methods, without biases."""

    def layer_settings(self, layer: str | None = None) -> dict[str, Any]:
        """Keyword arguments of layers.MLP that these options set for a kind of layer; None: that of `layer`. Options of
        a kind that have no flag here stay at their defaults."""
        options = options_from(self, layer or self.layer)
        neurons = self.starts_dense and self.projections == "neurons"
        chosen = {"norm": not neurons, "projection_bias": neurons}
        return options | {name: value for name, value in chosen.items() if name in options and options[name] is None}

    def kinds(self) -> set[str]:
        """Kinds of the replaced layers of all networks."""
        return {self.layer}

    def idle_options(self) -> list[str]:
        """Names of options that are not at their defaults and that none of the replaced layers has. num_features is not
        among them: methods set it for whatever kind may need it."""
        offered = {name for kind in LAYER_KINDS for name in layer_options(kind)} - {"num_features"}
        taken = {name for kind in self.kinds() for name in layer_options(kind)}
        defaults = {field.name: field.default for field in dataclasses.fields(LayerFlags)}
        return [
            name for name, default in defaults.items() if name in offered - taken and getattr(self, name) != default
        ]

    # Dense start

    @property
    def starts_dense(self) -> bool:
        """Whether layers that are not dense are dense for the first steps of a training."""
        return bool(self.dense_start) and self.kinds() != {"dense"}

    @property
    def projections(self) -> str:
        """Where the closed form of a dense start takes the projections of EUGen layers from, as in layers.transfer."""
        neurons = self.order == 1 and self.train_projections and self.projection_bias is not False
        return "neurons" if neurons else "random"

    def dense_phase(self: Flags) -> Flags:
        """A copy of these options for the networks as they are during the dense start."""
        return dataclasses.replace(self, layer="dense", dense_start=0.0)

    def check_dense_start(self) -> None:
        """Raises ValueError where the dense start is out of range, or a layer kind or the backend is not for it."""
        if not 0 <= (self.dense_start or 0.0) < 1:
            raise ValueError(f"dense_start is {self.dense_start}; it must be at least 0 and below 1")
        if not self.starts_dense:
            return
        for kind in sorted(self.kinds() - {"dense"}):
            if not layer_kind(kind).can_be_fitted:
                raise ValueError(
                    f"dense_start is {self.dense_start}, but {kind} layers cannot be fitted to dense ones: it must be 0"
                )
        if self.backend == "tcnn":
            raise ValueError(
                f"dense_start is {self.dense_start}, but layers fitted to dense ones have biases, which backend tcnn "
                "lacks: it must be 0, or the backend another one"
            )
