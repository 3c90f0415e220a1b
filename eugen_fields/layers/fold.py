"""Folding: the inference form of a network, with the same outputs to rounding and fewer multiplications.

Remark IV of "EUGens: Efficient, Unified, and General Dense Layers" (arXiv 2410.09771): y = W f + b followed by a linear
map M folds into M W f + M b. Here every layer of an MLP is taken apart into linear maps and features, and W disappears
into whatever reads y next: a dense layer, the projections of another EUGen layer, or the inner map of a low-rank one.
A norm column, which needs |W f + b|, is kept exact [this library's addition] through the QR factor of [W b]:
|W f + b| = |R [f; 1]|, with R no larger than the number of features plus one.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation, safe_norm
from eugen_fields.layers.eugen import EUGenLinear, product_features
from eugen_fields.layers.low_rank import LowRankLinear
from eugen_fields.layers.mlp import MLP
from eugen_fields.layers.prp import PRPLinear
from eugen_fields.layers.snnk import SNNKLinear, bounded_exp

Linear = tuple[Tensor, Tensor]
"""Weight (rows, columns) and bias (rows,) of an affine map."""


class FoldedStage(nn.Module):
    """f' = activation(products(W f + S x + n |[x; h]| + b)): one matrix product, then features.

    With `squared_norm` (SNNK) the norm term is -(n |[x; h]|)^2.

    `norm_weight`, `norm_bias` give |h| from f (h = f where they are None); x enters where the layer has a skip
    connection.
    """

    weight: Tensor
    bias: Tensor
    skip_weight: Tensor | None
    norm_column: Tensor | None
    norm_weight: Tensor | None
    norm_bias: Tensor | None

    def __init__(
        self,
        linear: Linear,
        skip: Tensor | None,
        norm_column: Tensor | None,
        norm_linear: Linear | None,
        products: tuple[int, int, bool] | None,
        activation: Activation,
        squared_norm: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", linear[0])
        self.register_buffer("bias", linear[1])
        self.register_buffer("skip_weight", skip)
        self.register_buffer("norm_column", norm_column)
        self.register_buffer("norm_weight", norm_linear[0] if norm_linear else None)
        self.register_buffer("norm_bias", norm_linear[1] if norm_linear else None)
        self._products = products
        self._activation = activation
        self._squared_norm = squared_norm

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


class FoldedMLP(nn.Module):
    """The inference form of an MLP: a chain of FoldedStage. Shapes as before: x (..., in_dim) to y (..., out_dim)."""

    def __init__(self, stages: list[FoldedStage]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def multiplications(self) -> int:
        """Multiplications of the matrix products for one input."""
        return sum(stage.multiplications() for stage in self.stages if isinstance(stage, FoldedStage))

    def forward(self, x: Tensor) -> Tensor:
        f = x
        for stage in self.stages:
            f = stage(f, x)
        return f


class _Folder:
    """Collects stages; `pending` is the affine map from the features so far to the value they stand for."""

    def __init__(self) -> None:
        self.stages: list[FoldedStage] = []
        self.pending: Linear | None = None

    def flush(self, activation: Activation) -> None:
        """Computes the pending value explicitly."""
        if self.pending is not None:
            self.stages.append(FoldedStage(self.pending, None, None, None, None, activation))
            self.pending = None

    def apply(
        self,
        linear: Linear,
        skip: Tensor | None,
        norm_column: Tensor | None,
        products: tuple[int, int, bool] | None,
        activation: Activation,
        squared_norm: bool = False,
    ) -> None:
        """Adds a stage that reads the pending value through `linear`, merged with it where that is cheaper."""
        norm_linear = None
        if self.pending is not None:
            weight, bias = self.pending
            factor = _norm_factor(weight, bias) if norm_column is not None else None
            merged = linear[0].shape[0] * weight.shape[1] + (factor[0].numel() if factor else 0)
            if merged < linear[0].numel() + weight.numel():
                linear = (linear[0] @ weight, linear[0] @ bias + linear[1])
                norm_linear = factor
                self.pending = None
            else:
                self.flush(get_activation(None))
        self.stages.append(FoldedStage(linear, skip, norm_column, norm_linear, products, activation, squared_norm))

    def add(self, layer: nn.Module, activation: Activation, skip_dim: int) -> None:
        """Takes one layer of an MLP apart; the first `skip_dim` of its inputs are the MLP's own input."""
        if isinstance(layer, EUGenLinear):
            matrix = layer.projection_matrices().detach()
            body, norm_column = matrix[:, : layer.in_features], None
            if layer.norm:
                norm_column = matrix[:, layer.in_features].clone()
            skip, body = _split(body, skip_dim)
            products = (layer.num_features, layer.order, layer.share_projections) if layer.order > 1 else None
            bias = matrix[:, -1].clone() if layer.projection_bias else body.new_zeros(body.shape[0])
            self.apply((body.clone(), bias), skip, norm_column, products, get_activation(layer.feature_activation))
            self.pending = (layer.weight.detach().clone(), _bias(layer.bias, layer.weight))
            if activation is not get_activation(None):
                self.flush(activation)
            return
        if isinstance(layer, SNNKLinear):
            skip, body = _split(layer.projections.detach()[:, :-1], skip_dim)
            column = layer.squared_norm_column().detach().clone()
            self.apply((body.clone(), body.new_zeros(body.shape[0])), skip, column, None, bounded_exp, True)
            self.pending = (layer.weight.detach().clone(), _bias(layer.bias, layer.weight))
            if activation is not get_activation(None):
                self.flush(activation)
            return
        if isinstance(layer, LowRankLinear):
            skip, down = _split(layer.down.detach(), skip_dim)
            self.apply((down.clone(), down.new_zeros(layer.rank)), skip, None, None, get_activation(None))
            linear = (layer.up.detach().clone(), _bias(layer.bias, layer.up))
            self.apply(linear, None, None, None, activation)
            return
        weight, bias = dense_form(layer)
        skip, body = _split(weight, skip_dim)
        self.apply((body.clone(), bias), skip, None, None, activation)


def _split(weight: Tensor, skip_dim: int) -> tuple[Tensor | None, Tensor]:
    return (weight[:, :skip_dim].clone(), weight[:, skip_dim:]) if skip_dim else (None, weight)


def _bias(bias: Tensor | None, like: Tensor) -> Tensor:
    return like.new_zeros(like.shape[0]) if bias is None else bias.detach().clone()


def _norm_factor(weight: Tensor, bias: Tensor) -> Linear | None:
    """An affine map with at most columns + 1 rows whose value has the norm of weight f + bias."""
    rows, columns = weight.shape
    if rows <= columns + 1:
        return weight, bias
    joined = torch.cat([weight, bias[:, None]], dim=1).double()
    factor = torch.linalg.qr(joined, mode="r").R.to(weight.dtype)
    return factor[:, :columns].clone(), factor[:, columns].clone()


def dense_form(layer: nn.Module) -> Linear:
    """Weight (out, in) and bias (out,) of the dense layer that a linear layer equals.

    Raises:
        ValueError: the layer is not linear or not known.
    """
    if isinstance(layer, nn.Linear):
        return layer.weight.detach().clone(), _bias(layer.bias, layer.weight)
    if isinstance(layer, PRPLinear):
        weight = layer.effective_weight().detach()
        return weight, _bias(layer.bias, weight)
    if isinstance(layer, LowRankLinear):
        return (layer.up @ layer.down).detach(), _bias(layer.bias, layer.up)
    raise ValueError(f"{type(layer).__name__} has no dense form; nn.Linear, PRPLinear and LowRankLinear have one")


def _fold_mlp(mlp: MLP) -> FoldedMLP:
    folder = _Folder()
    for index, layer in enumerate(mlp.layers):
        folder.add(layer, mlp._activations[index], mlp.in_dim if index in mlp.skip_connections else 0)
    folder.flush(get_activation(None))
    return FoldedMLP(folder.stages)


def _fold_sequential(sequence: nn.Sequential) -> nn.Module:
    """Runs of our layers and nn.Linear with nothing in between become one FoldedMLP; the rest is folded one by one."""
    ours = (EUGenLinear, PRPLinear, LowRankLinear, SNNKLinear, nn.Linear)
    modules: list[nn.Module] = []
    folder = _Folder()

    def close() -> None:
        nonlocal folder
        folder.flush(get_activation(None))
        if folder.stages:
            modules.append(FoldedMLP(folder.stages))
        folder = _Folder()

    for child in sequence:
        if isinstance(child, ours):
            folder.add(child, get_activation(None), 0)
        else:
            close()
            modules.append(fold(child))
    close()
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


def fold(module: nn.Module) -> nn.Module:
    """The inference form of `module`: same outputs to rounding, fewer multiplications.

    MLPs, chains of layers in an nn.Sequential, and single layers are folded wherever they stand; anything else is
    copied. The original is left alone. Folding a folded module returns an equal copy.
    """
    with torch.no_grad():
        if isinstance(module, MLP):
            return _fold_mlp(module)
        if type(module) is nn.Sequential:
            return _fold_sequential(module)
        if isinstance(module, PRPLinear):
            return _fold_sequential(nn.Sequential(module))
        folded = copy.copy(module)
        folded._parameters = {name: copy.deepcopy(value) for name, value in module._parameters.items()}
        folded._buffers = {name: copy.deepcopy(value) for name, value in module._buffers.items()}
        folded._modules = {name: fold(child) if child is not None else None for name, child in module._modules.items()}
        return folded
