"""Chains of layers taken apart into linear maps and features, and put together again with fewer multiplications.

Remark IV of "EUGens: Efficient, Unified, and General Dense Layers" (arXiv 2410.09771): y = W f + b followed by a linear
map M folds into M W f + M b. Here every layer of a chain is taken apart into its stages (Layer.stages), and W goes into
whatever reads y next: a dense layer, the projections of another EUGen layer, or the inner map of a low-rank one.
A norm column, which needs |W f + b|, is kept exact [this library's addition] through the QR factor of [W b]:
|W f + b| = |R [f; 1]|, with R no larger than the number of features plus one.

Layers that append to their input are stages whose values stand side by side until a layer reads them all: it gets one
matrix for each.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, identity
from eugen_fields.layers.folding.folded import INPUT, FoldedMLP, FoldedStage, Joined, Stage, value_name
from eugen_fields.layers.folding.seeded import SeededStage, seeded_stage
from eugen_fields.layers.layer import Affine, AppendingLayer, LayerStage, in_double, layer_stages


class Chain:
    """Collects stages; `current` names the values that the next layer reads side by side, and `pending` is the affine
    map from the features so far, a single value then, to the value they stand for.

    Args:
        materialise: write fixed random matrices out; otherwise they stay drawn from their seeds.
    """

    def __init__(self, materialise: bool) -> None:
        self.materialise = materialise
        self.stages: list[Stage] = []
        self.pending: Affine | None = None
        self.current: tuple[str, ...] = (INPUT,)
        self._widths: dict[str, int] = {}
        self._joined_width = 0

    def finish(self) -> FoldedMLP:
        self.flush(identity)
        if len(self.current) > 1:
            self.stages.append(Joined(self.current, self._joined_width))
        return FoldedMLP(self.stages)

    def flush(self, activation: Activation) -> None:
        """Computes the pending value explicitly."""
        if self.pending is not None:
            linear, self.pending = self.pending, None
            self._append(LayerStage(linear, activation=activation))

    def add(self, layer: nn.Module, name: str, activation: Activation, skip_dim: int) -> None:
        """Takes one layer apart; the first `skip_dim` of its inputs are the chain's own input.

        `name` is the layer's qualified name in the module that is folded.
        """
        prefix = f"{name}." if name else ""
        if not self.materialise:
            # what is pending is computed first
            current = self.current if self.pending is None else (value_name(len(self.stages)),)
            seeded = seeded_stage(layer, prefix, (INPUT, *current) if skip_dim else current, activation)
            if seeded is not None:
                self._add_seeded(seeded)
                return
        if isinstance(layer, AppendingLayer):
            self._add_appending(layer, prefix, skip_dim)
            return
        *inner, last = [_frozen(stage, prefix) for stage in layer_stages(layer)]
        for stage in inner:
            self._apply(stage, skip_dim)
            skip_dim = 0
        if inner and not inner[-1].is_affine:
            # the weight side of a layer waits for what reads it, unless an activation comes first
            self.pending = last.linear
            if activation is not identity:
                self.flush(activation)
        else:
            self._apply(last._replace(activation=activation), skip_dim)

    def _add_seeded(self, stage: SeededStage) -> None:
        """The scale at its input moves into the rows of the map before, where nothing else reads that map's value."""
        scale = stage.input_scale()
        if scale is not None and self.pending is not None:
            self.pending = self.pending.scaled(*scale)
            stage.drop_input_scale()
        elif scale is not None and self.stages and self.stages[-1].scale_output(*scale):
            stage.drop_input_scale()
        self.flush(identity)
        self._push(stage, stage.out_features)

    def _add_appending(self, layer: AppendingLayer, prefix: str, skip_dim: int) -> None:
        """The value of the layer joins those that it reads."""
        self.flush(identity)
        kept = (INPUT, *self.current) if skip_dim else self.current
        for stage in layer_stages(layer):
            self._apply(_frozen(stage, prefix), skip_dim, alone=False)
            skip_dim = 0
        self.current = (*kept, *self.current)
        self._joined_width = layer.out_features

    def _push(self, stage: Stage, width: int) -> None:
        """Makes a stage, whose value has this width, the last one."""
        self.stages.append(stage)
        self.current = (value_name(len(self.stages) - 1),)
        self._widths[self.current[0]] = width

    def _apply(self, stage: LayerStage, skip_dim: int, alone: bool = True) -> None:
        """Adds a stage that reads the pending value, merged with it where that is cheaper; `alone`: nothing later reads
        what it reads."""
        *others, weight = self._columns(stage.linear.weight, skip_dim)
        beside = dict(zip((INPUT, *self.current) if skip_dim else self.current, others))
        own_names = stage.linear.weight_names
        linear, norm_linear = stage.linear._replace(weight=weight), None
        if self.pending is not None:
            inner = self.pending.weight
            factor = _norm_factor(self.pending) if stage.norm_column is not None else None
            merged = weight.shape[0] * inner.shape[1] + (factor.weight.numel() if factor else 0)
            if merged < weight.numel() + inner.numel():
                linear = linear.after(self.pending)
                norm_linear = factor
                self.pending = None
            else:
                self.flush(identity)
        elif self.stages and stage.norm_column is None and alone:
            scale = self.stages[-1].take_output_scale()
            linear = linear.after(scale) if scale else linear
        self._append(stage._replace(linear=linear), beside, norm_linear, own_names)

    def _columns(self, weight: Tensor, skip_dim: int) -> list[Tensor]:
        """The columns of a weight for each of the values that a layer reads, its skip connection first."""
        widths = [self._widths[name] for name in self.current[1:]]
        widths.insert(0, weight.shape[1] - skip_dim - sum(widths))  # of the input, or of what is pending
        if skip_dim:
            widths.insert(0, skip_dim)
        return [weight] if len(widths) == 1 else [part.clone() for part in weight.split(widths, dim=1)]

    def _append(
        self,
        stage: LayerStage,
        beside: Mapping[str, Tensor] = {},
        norm_linear: Affine | None = None,
        own_names: tuple[str, ...] = (),
    ) -> None:
        """Adds a stage that reads the one before through its linear map and other values through those in `beside`.

        `norm_linear` is what the norm reads the stage before through. `own_names` are the original entries behind
        `beside` and the norm column.
        """
        linear, previous = stage.linear, value_name(len(self.stages) - 1)
        weights = {previous: linear.weight, **beside}
        sources = {f"weight_{previous}": linear.weight_names, "bias": linear.bias_names, "norm_column": own_names}
        sources |= {f"weight_{name}": own_names for name in beside}
        if norm_linear is not None:
            sources |= {"norm_weight": norm_linear.weight_names, "norm_bias": norm_linear.bias_names}
        folded = FoldedStage(
            weights,
            linear.bias,
            norm_column=stage.norm_column,
            norm_weight=None if norm_linear is None else norm_linear.weight,
            norm_bias=None if norm_linear is None else norm_linear.bias,
            squared_norm=stage.squared_norm,
            products=stage.products,
            activation=stage.activation,
            sources=sources,
        )
        self._push(folded, folded.out_features)


def _frozen(stage: LayerStage, prefix: str) -> LayerStage:
    """Copies of a stage's tensors, and names with the prefix of its layer."""
    weight, bias, weight_names, bias_names = stage.linear
    linear = Affine(
        _copy(weight), _copy(bias), tuple(prefix + n for n in weight_names), tuple(prefix + n for n in bias_names)
    )
    norm_column = None if stage.norm_column is None else _copy(stage.norm_column)
    return stage._replace(linear=linear, norm_column=norm_column)


def _copy(value: Tensor) -> Tensor:
    return value.detach().clone(memory_format=torch.contiguous_format)


def _norm_factor(linear: Affine) -> Affine:
    """An affine map with at most columns + 1 rows whose value has the norm of weight f + bias."""
    rows, columns = linear.weight.shape
    if rows <= columns + 1:
        return linear
    joined = in_double(torch.cat([linear.weight, linear.bias[:, None]], dim=1))
    factor = torch.linalg.qr(joined, mode="r").R.to(linear.weight)
    names = linear.weight_names  # R is triangular: its first columns do not depend on the bias
    bias_names = names + linear.bias_names if linear.bias_names else ()
    body = factor[:, :columns].clone(memory_format=torch.contiguous_format)
    return Affine(body, factor[:, columns].clone(), names, bias_names)
