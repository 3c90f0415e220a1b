"""What a layer kind answers about itself, so that MLPs, folding, fitting and kernels serve it without knowing it.

A new kind is a FeatureLayer or a LinearLayer in a file of its own, and a line in kinds.py. nn.Linear, which cannot be
given methods, is answered for here (`layer_stages`) and in kinds.py (how it starts).
"""

import functools
from typing import ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, identity
from eugen_fields.layers.affine import Affine, affine


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
