"""Chains of layers taken apart into linear maps and features, and put together again with fewer multiplications.

Remark IV of "EUGens: Efficient, Unified, and General Dense Layers" (arXiv 2410.09771): y = W f + b followed by a linear
map M folds into M W f + M b. Here every layer of a chain is taken apart into linear maps and features, and W disappears
into whatever reads y next: a dense layer, the projections of another EUGen layer, or the inner map of a low-rank one.
A norm column, which needs |W f + b|, is kept exact [this library's addition] through the QR factor of [W b]:
|W f + b| = |R [f; 1]|, with R no larger than the number of features plus one.
"""

import torch
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation
from eugen_fields.layers.eugen import EUGenLinear
from eugen_fields.layers.folding.folded import Affine, FoldedMLP, FoldedPRP, FoldedStage, Names
from eugen_fields.layers.low_rank import LowRankLinear
from eugen_fields.layers.prp import PRPLinear
from eugen_fields.layers.snnk import SNNKLinear, bounded_exp
from eugen_fields.layers.theory.explicit import ExplicitEUGenLinear


class Chain:
    """Collects stages; `pending` is the affine map from the features so far to the value they stand for.

    Args:
        materialise: write PRP layers out as dense ones; otherwise their matrix stays drawn from its seed.
    """

    def __init__(self, materialise: bool) -> None:
        self.materialise = materialise
        self.stages: list[FoldedStage | FoldedPRP] = []
        self.pending: Affine | None = None

    def finish(self) -> FoldedMLP:
        self.flush(get_activation(None))
        return FoldedMLP(self.stages)

    def flush(self, activation: Activation) -> None:
        """Computes the pending value explicitly."""
        if self.pending is not None:
            self.stages.append(FoldedStage(self.pending, None, None, None, None, activation))
            self.pending = None

    def add(self, layer: nn.Module, name: str, activation: Activation, skip_dim: int) -> None:
        """Takes one layer apart; the first `skip_dim` of its inputs are the chain's own input.

        `name` is the layer's qualified name in the module that is folded.
        """
        prefix = f"{name}." if name else ""
        if isinstance(layer, EUGenLinear):
            self._add_eugen(layer, _entries(layer, prefix), activation, skip_dim)
        elif isinstance(layer, ExplicitEUGenLinear):
            self._add_eugen(layer.precompute(), layer.entries(prefix), activation, skip_dim)
        elif isinstance(layer, SNNKLinear):
            self._add_snnk(layer, prefix, activation, skip_dim)
        elif isinstance(layer, LowRankLinear):
            names = (f"{prefix}down",)
            skip, down = _split(layer.down.detach(), skip_dim)
            self._apply(Affine(down.clone(), down.new_zeros(layer.rank), names, ()), skip, None, None, None, names)
            up = layer.up.detach().clone()
            linear = _affine(up, layer.bias, (f"{prefix}up",), (f"{prefix}bias",))
            self._apply(linear, None, None, None, activation, ())
        elif isinstance(layer, PRPLinear) and not self.materialise:
            self._add_prp(layer, prefix, activation, skip_dim)
        else:
            linear = _dense_form(layer, prefix)
            skip, body = _split(linear.weight, skip_dim)
            self._apply(linear._replace(weight=body.clone()), skip, None, None, activation, linear.weight_names)

    def _add_eugen(self, layer: EUGenLinear, sources: dict[str, Names], activation: Activation, skip_dim: int) -> None:
        """`sources` names the original entries behind the layer's projections, weight and bias."""
        names = sources["projections"]
        matrix = layer.projection_matrices().detach()
        norm_column = matrix[:, layer.in_features].clone() if layer.norm else None
        skip, body = _split(matrix[:, : layer.in_features], skip_dim)
        products = (layer.num_features, layer.order, layer.share_projections) if layer.order > 1 else None
        bias, bias_names = body.new_zeros(body.shape[0]), ()
        if layer.projection_bias:
            bias, bias_names = matrix[:, -1].clone(), names
        linear = Affine(body.clone(), bias, names, bias_names)
        self._apply(linear, skip, norm_column, products, get_activation(layer.feature_activation), names)
        self._leave_pending(layer.weight, layer.bias, sources, activation)

    def _add_snnk(self, layer: SNNKLinear, prefix: str, activation: Activation, skip_dim: int) -> None:
        sources = _entries(layer, prefix)
        names = sources["projections"]
        skip, body = _split(layer.projections.detach()[:, :-1], skip_dim)
        linear = Affine(body.clone(), body.new_zeros(body.shape[0]), names, ())
        column = layer.squared_norm_column().detach().clone()
        self._apply(linear, skip, column, None, bounded_exp, names, squared_norm=True)
        self._leave_pending(layer.weight, layer.bias, sources, activation)

    def _leave_pending(
        self, weight: Tensor, bias: Tensor | None, sources: dict[str, Names], activation: Activation
    ) -> None:
        """The weight side of a layer waits for what reads it, unless an activation comes first."""
        self.pending = _affine(weight.detach().clone(), bias, sources["weight"], sources["bias"])
        if activation is not get_activation(None):
            self.flush(activation)

    def _add_prp(self, layer: PRPLinear, prefix: str, activation: Activation, skip_dim: int) -> None:
        """alpha moves into the rows of the map before, where nothing else reads that map's value."""
        stage = FoldedPRP(layer, prefix, skip_dim > 0, activation)
        alpha, names = layer.alpha.detach(), (f"{prefix}alpha",)
        if skip_dim == 0 and layer.rank == 0:
            if self.pending is not None:
                self.pending = self.pending.scaled(alpha, names)
                stage.give_away("alpha")
            elif self.stages and self.stages[-1].scale_output(alpha, names):
                stage.give_away("alpha")
        self.flush(get_activation(None))
        self.stages.append(stage)

    def _apply(
        self,
        linear: Affine,
        skip: Tensor | None,
        norm_column: Tensor | None,
        products: tuple[int, int, bool] | None,
        activation: Activation | None,
        own_names: Names,
        squared_norm: bool = False,
    ) -> None:
        """Adds a stage that reads the pending value through `linear`, merged with it where that is cheaper."""
        norm_linear = None
        if self.pending is not None:
            weight = self.pending.weight
            factor = _norm_factor(self.pending) if norm_column is not None else None
            merged = linear.weight.shape[0] * weight.shape[1] + (factor.weight.numel() if factor else 0)
            if merged < linear.weight.numel() + weight.numel():
                linear = linear.after(self.pending)
                norm_linear = factor
                self.pending = None
            else:
                self.flush(get_activation(None))
        elif self.stages and isinstance(self.stages[-1], FoldedPRP) and norm_column is None:
            scale = self.stages[-1].take_output_scale()
            linear = linear.after(scale) if scale else linear
        activation = get_activation(activation)
        self.stages.append(
            FoldedStage(linear, skip, norm_column, norm_linear, products, activation, own_names, squared_norm)
        )


def _entries(layer: EUGenLinear | SNNKLinear, prefix: str) -> dict[str, Names]:
    """The state-dict entries behind a layer's projections, weight and bias."""
    drawn_from = f"{prefix}projections" if layer.train_projections else f"{prefix}seed"
    return {"projections": (drawn_from,), "weight": (f"{prefix}weight",), "bias": (f"{prefix}bias",)}


def _split(weight: Tensor, skip_dim: int) -> tuple[Tensor | None, Tensor]:
    return (weight[:, :skip_dim].clone(), weight[:, skip_dim:]) if skip_dim else (None, weight)


def _affine(weight: Tensor, bias: Tensor | None, weight_names: Names, bias_names: Names) -> Affine:
    """weight f + bias; without a bias zeros, which come from nothing."""
    if bias is None:
        return Affine(weight, weight.new_zeros(weight.shape[0]), weight_names, ())
    return Affine(weight, bias.detach().clone(), weight_names, bias_names)


def _norm_factor(linear: Affine) -> Affine:
    """An affine map with at most columns + 1 rows whose value has the norm of weight f + bias."""
    rows, columns = linear.weight.shape
    if rows <= columns + 1:
        return linear
    joined = torch.cat([linear.weight, linear.bias[:, None]], dim=1).double()
    factor = torch.linalg.qr(joined, mode="r").R.to(linear.weight.dtype)
    names = linear.weight_names  # R is triangular: its first columns do not depend on the bias
    bias_names = names + linear.bias_names if linear.bias_names else ()
    body = factor[:, :columns].clone(memory_format=torch.contiguous_format)
    return Affine(body, factor[:, columns].clone(), names, bias_names)


def dense_form(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight (out, in) and bias (out,) of the dense layer that a linear layer equals.

    Raises:
        ValueError: the layer is not linear or not known.
    """
    linear = _dense_form(layer, "")
    return linear.weight, linear.bias


def _dense_form(layer: nn.Module, prefix: str) -> Affine:
    if isinstance(layer, nn.Linear):
        weight, entries = layer.weight.detach().clone(), ("weight",)
    elif isinstance(layer, PRPLinear):
        weight = layer.effective_weight().detach()
        entries = ("scale", "seed", "alpha") + (("up", "down") if layer.rank > 0 else ())
    elif isinstance(layer, LowRankLinear):
        weight, entries = (layer.up @ layer.down).detach(), ("up", "down")
    else:
        raise ValueError(f"{type(layer).__name__} has no dense form; nn.Linear, PRPLinear and LowRankLinear have one")
    return _affine(weight, layer.bias, tuple(f"{prefix}{entry}" for entry in entries), (f"{prefix}bias",))
