"""Conversion: chosen nn.Linears of any torch model swapped for the layers of this library.

"EUGens: Efficient, Unified, and General Dense Layers" (arXiv 2410.09771) replaces the first layer of a transformer's
feed-forward blocks, and the activation behind it, by an EUGen layer; folding (Remark IV) then merges that layer with
the second one. Given inputs, the new layers are fitted to the Linears whose places they take (layerwise.py).
"""

import copy
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation
from eugen_fields.layers.fitting.layerwise import Chosen, LayerReport, fit_layers, with_fit_defaults
from eugen_fields.layers.fitting.recording import Batch, Stream, run_order
from eugen_fields.layers.folding.tracing import successors
from eugen_fields.layers.kinds import LAYER_KINDS, check_options, check_stands_for_dense
from eugen_fields.layers.random_matrices import resolve_seed

Where = str | Callable[[str, nn.Linear], bool]
"""A regular expression that the whole qualified name matches, or a predicate of name and layer."""

ABSORBED = (nn.GELU, nn.ReLU, nn.SiLU, nn.Softplus, nn.Tanh, nn.Sigmoid)
_READ_BY_WEIGHT = (nn.MultiheadAttention, nn.TransformerEncoderLayer)


class ChosenLinear(NamedTuple):
    """A Linear with its qualified name, and the qualified name of the activation that alone reads its output."""

    name: str
    linear: nn.Linear
    activation: str | None


def chosen_linears(module: nn.Module, where: Where) -> list[ChosenLinear]:
    """The Linears that `where` chooses, in the order in which they are registered.

    Their activation is a sub-module nn.GELU, ReLU, SiLU, Softplus, Tanh or Sigmoid that the forward around them, traced
    with torch.fx, applies to their output and to nothing else; None where there is none or the forward cannot be
    traced.

    Raises:
        ValueError: `where` is neither a regular expression nor callable, chooses nothing, or chooses a Linear that
            cannot be swapped: of a subclass, inside a module that reads its weight, or with a weight that has another
            name as well.
    """
    linears = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    accepts = _predicate(where)
    names = [name for name, layer in linears.items() if accepts(name, layer)]
    if not names:
        some = list(linears)[:8]
        listed = ", ".join(map(repr, some)) + (" ..." if len(linears) > len(some) else "")
        raise ValueError(f"where={where!r} chooses no nn.Linear of {type(module).__name__}; it has {listed or 'none'}")
    weight_names = defaultdict(list)
    for name, parameter in module.named_parameters(remove_duplicate=False):
        weight_names[id(parameter)].append(name)
    for name in names:
        _check_swappable(module, name, linears[name], weight_names[id(linears[name].weight)])
    flows: dict[str, dict[str, str]] = {}
    return [ChosenLinear(name, linears[name], _activation_after(module, name, flows)) for name in names]


def convert(
    module: nn.Module,
    *,
    layer: str,
    where: Where,
    absorb_activation: bool = True,
    seed: int | None = None,
    inputs: Tensor | Iterable[Batch] | None = None,
    ridge: float = 1e-6,
    projections: str = "neurons",
    report: list[LayerReport] | None = None,
    **layer_options: Any,
) -> nn.Module:
    """A copy of `module` with chosen nn.Linears swapped for layers of another kind.

    The new layers are freshly initialised, for training; or, given inputs, fitted in closed form to the Linears and the
    activations that they absorb, each on what reaches it in the converted model. Sizes, the presence of a bias, dtype,
    device and training mode are those of the Linears; the original is left alone.

    Args:
        module: any module.
        layer: kind of the new layers, one of LAYER_KINDS that stands for dense ones.
        where: which Linears: a regular expression that must match the whole of a qualified name (so that "layer_1"
            does not choose layer_10), or a predicate (name, linear) -> bool.
        absorb_activation: where the new layers hold their own non-linearity (EUGen, SNNK), the activation module behind
            a chosen Linear becomes nn.Identity. An activation that the forward calls as a function cannot be absorbed
            and stays.
        seed: base seed of the new layers; None draws one from torch's global generator, as dense layers always do.
        inputs: what the module meets in use, as in `transfer`: a tensor, or something that can be iterated over several
            times and yields tensors or pairs (tensor, weights); the module is called with one tensor at a time.
        ridge, projections: of the fit, as in `transfer`.
        report: a list to which the fit of every layer is appended, in the order in which they run.
        layer_options: options of the new layers (num_features=..., matrix=..., rank=..., ...). EUGen layers that are
            fitted have the absorbed activation as feature_activation, and projection_bias=True and norm=False where
            the projections are not random, unless told otherwise.

    Raises:
        ValueError: what `chosen_linears` refuses, an unknown kind or one that stands for no dense layer, or an option
            that the kind does not have; with inputs, also what `transfer` refuses, and a Linear that they do not reach
            or reach several times.
    """
    check_options(layer, layer_options)
    check_stands_for_dense(layer)
    if report is not None and inputs is None:
        raise ValueError("report is given without inputs: only a fit has something to report; give inputs as well")
    base_seed = resolve_seed(seed)
    chosen = chosen_linears(module, where)
    converted = copy.deepcopy(module)
    flows: dict[str, dict[str, str]] = {}
    to_fit: dict[str, Chosen] = {}
    for index, (name, linear, activation) in enumerate(chosen):
        absorbed = activation if absorb_activation and LAYER_KINDS[layer].holds_activation else None
        function = _as_function(module.get_submodule(absorbed)) if absorbed else "relu"
        options = {"bias": linear.bias is not None, **layer_options}
        if inputs is not None:
            options = with_fit_defaults(layer, projections, function, options)
            reader = _linear_after(module, absorbed or name, flows)
            read = module.get_submodule(reader).weight.detach() if reader else None  # type: ignore[union-attr]
            to_fit[name] = Chosen(name, get_activation(function if absorbed else None), read, reader)
        # keeps the variance through a relu, as in MLP; EUGen layers take no gain
        gain = math.sqrt(2.0) if activation and isinstance(module.get_submodule(activation), nn.ReLU) else 1.0
        new = LAYER_KINDS[layer].build(
            linear.in_features,
            linear.out_features,
            gain=gain,
            activation=function,
            seed=base_seed + (index << 32),
            **options,
        )
        new = new.to(linear.weight.device, linear.weight.dtype).train(linear.training)
        if name:
            _set(converted, name, new)
        else:
            converted = new
        if absorbed:
            _set(converted, absorbed, nn.Identity().train(linear.training))
    if inputs is not None:
        batches = Stream(inputs)
        order = run_order(module, next(iter(batches))[0], list(to_fit))
        in_order = [to_fit[name] for name in order]
        reports = fit_layers(module, converted, in_order, batches, ridge=ridge, projections=projections)
        if report is not None:
            report += reports
    return converted


def _as_function(activation: nn.Module) -> str | Activation:
    """An activation module as what EUGen layers take: a name where it has one, else a function."""
    if isinstance(activation, nn.GELU) and activation.approximate != "none":
        return partial(F.gelu, approximate=activation.approximate)
    if isinstance(activation, nn.Softplus) and (activation.beta, activation.threshold) != (1, 20):
        return partial(F.softplus, beta=activation.beta, threshold=activation.threshold)
    return type(activation).__name__.lower()


def _predicate(where: Where) -> Callable[[str, nn.Linear], bool]:
    if isinstance(where, str):
        try:
            pattern = re.compile(where)
        except re.error as error:
            raise ValueError(f"where={where!r} is not a regular expression: {error}") from error
        return lambda name, _: pattern.fullmatch(name) is not None
    if not callable(where):
        raise ValueError(f"where is {where!r}; it must be a regular expression or a predicate (name, linear) -> bool")
    return where


def _check_swappable(module: nn.Module, name: str, linear: nn.Linear, weight_names: list[str]) -> None:
    if type(linear) is not nn.Linear:
        raise ValueError(
            f"{name} is a {type(linear).__name__}, which its owner may read by weight instead of calling it; "
            "only plain nn.Linear can be swapped: choose others"
        )
    parent = module.get_submodule(name.rpartition(".")[0])
    if isinstance(parent, _READ_BY_WEIGHT):
        raise ValueError(
            f"{name} belongs to a {type(parent).__name__}, which reads its weight instead of calling it: choose others"
        )
    others = [other for other in weight_names if other != f"{name}.weight".lstrip(".")]
    if others:
        raise ValueError(
            f"{name} shares its weight with {', '.join(others)}; swapping it would untie them: choose others"
        )


def _activation_after(module: nn.Module, name: str, flows: dict[str, dict[str, str]]) -> str | None:
    """The qualified name of the activation that alone reads the Linear `name`; `flows` keeps the traces by owner."""
    reader = _reader(module, name, flows)
    return reader if reader and type(module.get_submodule(reader)) in ABSORBED else None


def _linear_after(module: nn.Module, name: str, flows: dict[str, dict[str, str]]) -> str | None:
    """The qualified name of the Linear that alone reads the sub-module `name`, dropout in between or not."""
    reader = _reader(module, name, flows)
    while reader and isinstance(module.get_submodule(reader), nn.Dropout | nn.Identity):
        reader = _reader(module, reader, flows)
    return reader if reader and isinstance(module.get_submodule(reader), nn.Linear) else None


def _reader(module: nn.Module, name: str, flows: dict[str, dict[str, str]]) -> str | None:
    """The qualified name of the sub-module that alone reads the sub-module `name`, if that can be traced."""
    owner = name.rpartition(".")[0] if name else None
    while owner and isinstance(module.get_submodule(owner), nn.ModuleList | nn.ModuleDict):
        owner = owner.rpartition(".")[0]
    if owner is None:
        return None
    if owner not in flows:
        flows[owner] = successors(module.get_submodule(owner))
    prefix = f"{owner}." if owner else ""
    reader = flows[owner].get(name.removeprefix(prefix))
    return None if reader is None else prefix + reader


def _set(module: nn.Module, name: str, new: nn.Module) -> None:
    owner, _, child = name.rpartition(".")
    module.get_submodule(owner)._modules[child] = new
