"""Chains of layers taken apart into linear maps and features, and put together again with fewer multiplications.

Remark IV of "EUGens: Efficient, Unified, and General Dense Layers" (arXiv 2410.09771): y = W f + b followed by a linear
map M folds into M W f + M b. Here every layer of a chain is taken apart into its stages (Layer.stages), and W goes into
whatever reads y next: a dense layer, the projections of another EUGen layer, or the inner map of a low-rank one.
A norm column, which needs |W f + b|, is kept exact [this library's addition] through the QR factor of [W b]:
|W f + b| = |R [f; 1]|, with R no larger than the number of features plus one.
"""

import torch
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, identity
from eugen_fields.layers.folding.folded import INPUT, FoldedMLP, FoldedStage, Stage, value_name
from eugen_fields.layers.folding.seeded import SeededStage, seeded_stage
from eugen_fields.layers.layer import Affine, LayerStage, layer_stages


class Chain:
    """Collects stages; `pending` is the affine map from the features so far to the value they stand for.

    Args:
        materialise: write fixed random matrices out; otherwise they stay drawn from their seeds.
    """

    def __init__(self, materialise: bool) -> None:
        self.materialise = materialise
        self.stages: list[Stage] = []
        self.pending: Affine | None = None

    def finish(self) -> FoldedMLP:
        self.flush(identity)
        return FoldedMLP(self.stages)

    def flush(self, activation: Activation) -> None:
        """Computes the pending value explicitly."""
        if self.pending is not None:
            self._append(LayerStage(self.pending, activation=activation))
            self.pending = None

    def add(self, layer: nn.Module, name: str, activation: Activation, skip_dim: int) -> None:
        """Takes one layer apart; the first `skip_dim` of its inputs are the chain's own input.

        `name` is the layer's qualified name in the module that is folded.
        """
        prefix = f"{name}." if name else ""
        if not self.materialise:
            previous = value_name(len(self.stages) - (self.pending is None))  # what is pending is computed first
            seeded = seeded_stage(layer, prefix, (INPUT, previous) if skip_dim else (previous,), activation)
            if seeded is not None:
                self._add_seeded(seeded)
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
        self.stages.append(stage)

    def _apply(self, stage: LayerStage, skip_dim: int) -> None:
        """Adds a stage that reads the pending value, merged with it where that is cheaper."""
        weight, skip = stage.linear.weight, None
        if skip_dim:
            skip, weight = weight[:, :skip_dim].clone(), weight[:, skip_dim:].clone()
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
        elif self.stages and stage.norm_column is None:
            scale = self.stages[-1].take_output_scale()
            linear = linear.after(scale) if scale else linear
        self._append(stage._replace(linear=linear), skip, norm_linear, own_names)

    def _append(
        self,
        stage: LayerStage,
        skip: Tensor | None = None,
        norm_linear: Affine | None = None,
        own_names: tuple[str, ...] = (),
    ) -> None:
        """Adds a stage that reads the one before through its linear map and, through `skip`, the chain's input.

        `norm_linear` is what the norm reads the stage before through. `own_names` are the original entries behind
        `skip` and the norm column.
        """
        linear, previous = stage.linear, value_name(len(self.stages) - 1)
        weights = {previous: linear.weight}
        sources = {f"weight_{previous}": linear.weight_names, "bias": linear.bias_names, "norm_column": own_names}
        if skip is not None:
            weights[INPUT] = skip
            sources[f"weight_{INPUT}"] = own_names
        if norm_linear is not None:
            sources |= {"norm_weight": norm_linear.weight_names, "norm_bias": norm_linear.bias_names}
        self.stages.append(
            FoldedStage(
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
        )


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
    joined = torch.cat([linear.weight, linear.bias[:, None]], dim=1).double()
    factor = torch.linalg.qr(joined, mode="r").R.to(linear.weight.dtype)
    names = linear.weight_names  # R is triangular: its first columns do not depend on the bias
    bias_names = names + linear.bias_names if linear.bias_names else ()
    body = factor[:, :columns].clone(memory_format=torch.contiguous_format)
    return Affine(body, factor[:, columns].clone(), names, bias_names)
