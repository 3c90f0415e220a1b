"""The modules that folding leaves behind: chains of stages without trainable parameters."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation, safe_norm
from eugen_fields.layers.eugen import product_features
from eugen_fields.layers.prp import PRPLinear
from eugen_fields.layers.random_matrices import prp_matrix
from eugen_fields.layers.seeded import SeededMatrix

Names = tuple[str, ...]
"""State-dict entries of the original module that a value was computed from."""


class Affine(NamedTuple):
    """weight f + bias: weight (rows, columns) and bias (rows,), with the names of what each was computed from."""

    weight: Tensor
    bias: Tensor
    weight_names: Names
    bias_names: Names

    def after(self, inner: "Affine") -> "Affine":
        """The composition weight (inner.weight f + inner.bias) + bias."""
        bias_names = (*self.weight_names, *inner.bias_names, *self.bias_names) if inner.bias_names else self.bias_names
        return Affine(
            self.weight @ inner.weight,
            self.weight @ inner.bias + self.bias,
            self.weight_names + inner.weight_names,
            bias_names,
        )

    def scaled(self, scale: Tensor, names: Names) -> "Affine":
        """diag(scale) times the map."""
        bias_names = self.bias_names + names if self.bias_names else ()
        return Affine(self.weight * scale[:, None], self.bias * scale, self.weight_names + names, bias_names)


def _passes_scale(activation: Activation, scale: Tensor) -> bool:
    """Whether activation(z) * scale = activation(z * scale): always for the identity, for relu if scale >= 0."""
    if activation is get_activation("relu"):
        return bool((scale >= 0).all())
    return activation is get_activation(None)


class FoldedStage(nn.Module):
    """f' = activation(products(W f + S x + n |[x; h]| + b)): one matrix product, then features.

    With `squared_norm` (SNNK) the norm term is -(n |[x; h]|)^2.

    Shapes: f (..., width) is the output of the stage before, x (..., in_dim) the input of the whole chain.
    `norm_weight`, `norm_bias` give |h| from f (h = f where they are None); x enters where the layer has a skip
    connection. `sources` names, for each entry of the state dict, the original entries that it was computed from.
    """

    weight: Tensor
    bias: Tensor
    skip_weight: Tensor | None
    norm_column: Tensor | None
    norm_weight: Tensor | None
    norm_bias: Tensor | None

    def __init__(
        self,
        linear: Affine,
        skip: Tensor | None,
        norm_column: Tensor | None,
        norm_linear: Affine | None,
        products: tuple[int, int, bool] | None,
        activation: Activation,
        own_names: Names = (),
        squared_norm: bool = False,
    ) -> None:
        super().__init__()
        self.sources: dict[str, Names] = {}
        self._store("weight", linear.weight, linear.weight_names)
        self._store("bias", linear.bias, linear.bias_names)
        self._store("skip_weight", skip, own_names)
        self._store("norm_column", norm_column, own_names)
        self._store("norm_weight", norm_linear and norm_linear.weight, norm_linear.weight_names if norm_linear else ())
        self._store("norm_bias", norm_linear and norm_linear.bias, norm_linear.bias_names if norm_linear else ())
        self._products = products
        self._activation = activation
        self._squared_norm = squared_norm

    def _store(self, name: str, value: Tensor | None, names: Names) -> None:
        self.register_buffer(name, value)
        if value is not None:
            self.sources[name] = names

    def scale_output(self, scale: Tensor, names: Names) -> bool:
        """Multiplies the stage's outputs by `scale` (width,) if that is exact; False, and nothing done, if not."""
        if self._products is not None or not _passes_scale(self._activation, scale):
            return False
        for name in ("weight", "bias", "skip_weight", "norm_column"):
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value * (scale if value.dim() == 1 else scale[:, None]))
                self.sources[name] += names
        return True

    def multiplications(self) -> int:
        """Multiplications of the matrix products for one input."""
        matrices = (self.weight, self.skip_weight, self.norm_weight)
        return sum(matrix.numel() for matrix in matrices if matrix is not None)

    def forward(self, f: Tensor, x: Tensor) -> Tensor:
        z = F.linear(f, self.weight, self.bias)
        if self.skip_weight is not None:
            z = z + F.linear(x, self.skip_weight)
        if self.norm_column is not None:
            h = f if self.norm_weight is None else F.linear(f, self.norm_weight, self.norm_bias)
            if self.skip_weight is not None:
                h = torch.cat([x, h], dim=-1)
            norm_term = safe_norm(h) * self.norm_column
            z = z - norm_term.square() if self._squared_norm else z + norm_term
        if self._products is not None:
            z = product_features(z, *self._products)
        return self._activation(z)


class FoldedPRP(SeededMatrix):
    """f' = activation(P^T (f * alpha) * w + B A f + b) with P regenerated from its seed, not stored.

    alpha, w and b are None where a neighbouring stage has taken them over. With a skip connection the layer reads
    [x; f]. Shapes and `sources` are those of FoldedStage.
    """

    seed: Tensor
    projection: Tensor
    alpha: Tensor | None
    scale: Tensor | None
    bias: Tensor | None
    down: Tensor | None
    up: Tensor | None

    def __init__(self, layer: PRPLinear, prefix: str, skip: bool, activation: Activation) -> None:
        super().__init__()
        self.in_features = layer.in_features
        self.out_features = layer.out_features
        self.matrix = layer.matrix
        self.skip = skip
        self._activation = activation
        self._seeded = {"projection": "_draw"}
        self.register_buffer("projection", layer.projection.clone(), persistent=False)
        self.register_buffer("seed", layer.seed.clone())
        self.sources: dict[str, Names] = {"seed": (f"{prefix}seed",)}
        for name in ("alpha", "scale", "bias", "down", "up"):
            value = getattr(layer, name, None)
            self.register_buffer(name, None if value is None else value.detach().clone())
            if value is not None:
                self.sources[name] = (f"{prefix}{name}",)

    def _draw(self, seed: int) -> Tensor:
        return prp_matrix(self.matrix, self.in_features, self.out_features, seed)

    def give_away(self, *names: str) -> None:
        """Drops what a neighbouring stage has taken over."""
        for name in names:
            setattr(self, name, None)
            self.sources.pop(name, None)

    def scale_output(self, scale: Tensor, names: Names) -> bool:
        """Multiplies the outputs by `scale` (out_features,) if that is exact; False, and nothing done, if not."""
        if self.scale is None or not _passes_scale(self._activation, scale):
            return False
        for name in ("scale", "bias", "up"):
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value * (scale if value.dim() == 1 else scale[:, None]))
                self.sources[name] += names
        return True

    def take_output_scale(self) -> Affine | None:
        """Gives diag(w) and b away as an affine map, if the output is nothing but P^T (f * alpha) * w + b."""
        if self.scale is None or self.up is not None or self._activation is not get_activation(None):
            return None
        bias = torch.zeros_like(self.scale) if self.bias is None else self.bias
        taken = Affine(torch.diag(self.scale), bias, self.sources["scale"], self.sources.get("bias", ()))
        self.give_away("scale", "bias")
        return taken

    def multiplications(self) -> int:
        """Multiplications of the matrix products for one input."""
        return sum(matrix.numel() for matrix in (self.projection, self.down, self.up) if matrix is not None)

    def forward(self, f: Tensor, x: Tensor) -> Tensor:
        h = torch.cat([x, f], dim=-1) if self.skip else f
        y = F.linear(h if self.alpha is None else h * self.alpha, self.projection)
        if self.scale is not None:
            y = y * self.scale
        if self.bias is not None:
            y = y + self.bias
        if self.down is not None and self.up is not None:
            y = y + F.linear(F.linear(h, self.down), self.up)
        return self._activation(y)


class FoldedMLP(nn.Module):
    """The inference form of an MLP or a chain of layers. Shapes as before: x (..., in_dim) to y (..., out_dim)."""

    def __init__(self, stages: list[FoldedStage | FoldedPRP]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def multiplications(self) -> int:
        """Multiplications of the matrix products for one input."""
        return sum(stage.multiplications() for stage in self.stages if isinstance(stage, FoldedStage | FoldedPRP))

    def forward(self, x: Tensor) -> Tensor:
        f = x
        for stage in self.stages:
            f = stage(f, x)
        return f


def folded_names(folded: nn.Module) -> dict[str, tuple[str, ...]]:
    """For each entry of a folded module's state dict, the entries of the original's that it was computed from.

    What was not folded comes from the entry of its own name. An empty tuple is a constant, such as the zeros that
    stand for a missing bias. Names are relative to the module that fold() was called with.
    """
    names = {}
    for name in folded.state_dict():
        owner, _, entry = name.rpartition(".")
        stage = folded.get_submodule(owner)
        names[name] = stage.sources[entry] if isinstance(stage, FoldedStage | FoldedPRP) else (name,)
    return names
