"""What a layer kind answers about itself, so that MLPs, folding, fitting and kernels serve it without knowing it.

A new kind is a FeatureLayer or a LinearLayer in a file of its own, and a line in kinds.py; an AppendingLayer stands for
no dense layer. nn.Linear, which cannot be given methods, is answered for here (`layer_stages`) and in kinds.py (how it
starts).
"""

import functools
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, identity

Names = tuple[str, ...]
"""State-dict entries that a value was computed from."""


def in_double(x: Tensor) -> Tensor:
    """A tensor in float64: on its device, or on the CPU where that has no float64 (Apple's mps)."""
    return (x if x.device.type in ("cpu", "cuda", "meta") else x.cpu()).double()


class Affine(NamedTuple):
    """weight f + bias: weight (rows, columns) and bias (rows,), with the names of what each was computed from."""

    weight: Tensor
    bias: Tensor
    weight_names: Names
    bias_names: Names

    def after(self, inner: "Affine") -> "Affine":
        """The composition weight (inner.weight f + inner.bias) + bias."""
        bias, bias_names = self.bias, self.bias_names
        if inner.bias_names:  # else it is zero
            bias = self.weight @ inner.bias + bias
            bias_names = (*self.weight_names, *inner.bias_names, *bias_names)
        return Affine(self.weight @ inner.weight, bias, self.weight_names + inner.weight_names, bias_names)

    def scaled(self, scale: Tensor, names: Names) -> "Affine":
        """diag(scale) times the map."""
        bias_names = self.bias_names + names if self.bias_names else ()
        return Affine(self.weight * scale[:, None], self.bias * scale, self.weight_names + names, bias_names)


def affine(weight: Tensor, bias: Tensor | None, weight_names: Names, bias_names: Names = ("bias",)) -> Affine:
    """weight f + bias; without a bias zeros, which come from nothing."""
    if bias is None:
        return Affine(weight, weight.new_zeros(weight.shape[0]), weight_names, ())
    return Affine(weight, bias, weight_names, bias_names)


class LayerStage(NamedTuple):
    """activation(products(weight x + bias + norm_column |x|)): a part of a layer.

    With `squared_norm` the norm term is -(norm_column |x|)^2. `products` are the arguments num_features, order and
    share_projections of layers.eugen.product_features. Names of the affine map are those of the layer's own state dict.
    """

    linear: Affine
    norm_column: Tensor | None = None
    squared_norm: bool = False
    products: tuple[int, int, bool] | None = None
    activation: Activation = identity

    @property
    def is_affine(self) -> bool:
        """Whether it is nothing but weight x + bias."""
        return self.norm_column is None and self.products is None and self.activation is identity


class Layer(nn.Module):
    """Base of the layers of this library. Shapes: x (..., in_features) to y (..., out_features)."""

    holds_activation: ClassVar[bool] = False
    """Whether the non-linearity is inside the layer, so that no activation follows it."""

    in_features: int
    out_features: int
    bias: nn.Parameter | None

    def stages(self) -> tuple[LayerStage, ...]:
        """The layer as stages that stand one behind the other, with the tensors that it is trained by: what folding
        and kernels are made from. Each class has its own: one that inherits them may have another forward, and is not
        folded."""
        raise NotImplementedError

    def multiplications(self) -> int:
        """Multiplications of the matrix products for one input; norms and element-wise scales are not counted."""
        return sum(stage.linear.weight.numel() for stage in self.stages())


class FeatureLayer(Layer):
    """y = W features(x) + b. In a closed-form fit W and b are the solution of a regression on the features."""

    holds_activation = True

    weight: nn.Parameter

    def features(self, x: Tensor) -> Tensor:
        """What W reads, shape (..., columns of W)."""
        raise NotImplementedError

    def weight_side(self) -> LayerStage:
        """The last stage, W f + b."""
        return LayerStage(affine(self.weight, self.bias, ("weight",)))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.features(x), self.weight, self.bias)


class LinearLayer(Layer):
    """y = M x + b with a matrix M of some structure; an activation follows it."""

    solver: ClassVar[str | None] = None
    """What reports call the way in which `fit` finds M, where that is not the regression itself."""

    def fit(self, weight: Tensor, covariance: Tensor, cross: Tensor, ridge: float) -> Tensor:
        """Sets all parameters but the bias to the best stand-in for a dense weight.

        Args:
            weight: the dense least-squares solution for recorded inputs and outputs, shape (out, in), float64.
            covariance: of the inputs, shape (in, in).
            cross: covariance of the inputs with the outputs, shape (in, out).
            ridge: penalty of the regression, relative to the mean square of what it reads.

        Returns:
            the matrix M that was found, shape (out, in), float64.
        """
        raise NotImplementedError


class AppendingLayer(Layer):
    """y = [x; features(x)], where the stages are the features: out_features is in_features and as many as there are."""

    holds_activation = True

    def features(self, *values: Tensor) -> Tensor:
        """What is appended, from x in parts: values (..., any width) that stand for one another's columns in turn."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.features(x)], dim=-1)


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody wants to see each call of the module."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def linear_of_parts(values: Sequence[Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
    """weight [v_1; v_2; ..] + bias, shape (..., rows), from v_i (..., any width). Nothing is put side by side: in a
    network where each layer reads all before it, that would copy, and keep for the backward pass, every value again and
    again (a training step of such a network takes 1.5 times as long)."""
    first, *others = weight.split([value.shape[-1] for value in values], dim=1)
    z = F.linear(values[0], first, bias)
    for value, columns in zip(values[1:], others):
        z = z + F.linear(value, columns)
    return z


@functools.singledispatch
def layer_stages(layer: nn.Module) -> tuple[LayerStage, ...]:
    """The stages of a layer of this library, or of an nn.Linear. Raises ValueError for other modules."""
    raise ValueError(f"a {type(layer).__name__} is no layer of eugen_fields.layers and no nn.Linear")


@layer_stages.register
def _(layer: Layer) -> tuple[LayerStage, ...]:
    return layer.stages()


@layer_stages.register
def _(layer: nn.Linear) -> tuple[LayerStage, ...]:
    return (LayerStage(affine(layer.weight, layer.bias, ("weight",))),)


def layer_multiplications(layer: nn.Module) -> int:
    """Layer.multiplications, of an nn.Linear as well."""
    return layer.multiplications() if isinstance(layer, Layer) else layer.get_parameter("weight").numel()
