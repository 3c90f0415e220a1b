"""Residual EUGen networks in factors, folded: every layer becomes a stage that reads the input and all before it."""

from torch import Tensor

from eugen_fields.layers.activations import Activation, get_activation, identity
from eugen_fields.layers.folding.folded import INPUT, FoldedMLP, FoldedStage, value_name
from eugen_fields.layers.layer import Affine, Names
from eugen_fields.layers.residual_factors import ResidualEUGen


def fold_factors(network: ResidualEUGen, name: str) -> FoldedMLP:
    """The inference form of a residual network in factors whose qualified name is `name`."""
    prefix = f"{name}." if name else ""
    activations = [get_activation(layer.feature_activation) for layer in network.eugen_layers()]
    stages: list[FoldedStage] = []
    for linear, activation in zip(network.folded_maps(), [*activations, identity]):
        stages.append(_stage(linear, activation, [stage.out_features for stage in stages], prefix))
    return FoldedMLP(stages)


def _stage(linear: Affine, activation: Activation, widths: list[int], prefix: str) -> FoldedStage:
    """A stage that reads the input and the values of all stages before it, which have these widths."""
    reads = [INPUT, *(value_name(index) for index in range(len(widths)))]
    own, *factors = (prefix + entry for entry in linear.weight_names)
    from_entries: list[Names] = [(own,), *((own, factor) for factor in factors)]
    parts = linear.weight.split([linear.weight.shape[1] - sum(widths), *widths], dim=1)
    sources = {f"weight_{read}": entries for read, entries in zip(reads, from_entries)}
    sources["bias"] = tuple(prefix + entry for entry in dict.fromkeys(linear.bias_names))
    return FoldedStage(
        {read: _copy(part) for read, part in zip(reads, parts)},
        _copy(linear.bias),
        activation=activation,
        sources=sources,
    )


def _copy(value: Tensor) -> Tensor:
    return value.detach().clone()
