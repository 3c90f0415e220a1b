"""The networks that are trained against each other, by name: layer kinds, and dense networks made equally small."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from eugen_fields.errors import InputError
from eugen_fields.layers import LAYER_KINDS

CONTESTANTS = (*LAYER_KINDS, "narrow-eugen", "narrow-prp", "shallow", "hybrid-eugen", "hybrid-prp")


@dataclass(frozen=True)
class Contestant:
    """A layer kind and further flags of the model."""

    layer: str
    options: dict[str, Any]


def contestant(text: str, model: Any) -> Contestant:
    """What a name stands for in the network of a method.

    - A layer kind (dense, eugen, prp, ...): this kind in place of every hidden layer but the first, and eugen-residual
      in place of that one too.
    - narrow-eugen, narrow-prp: dense layers of the width at which the field comes nearest to the parameters of the
      eugen field, or to the bytes that the prp field takes in a checkpoint.
    - shallow: as many dense layers, of the full width, as come nearest to the parameters of the eugen field.
    - hybrid-eugen, hybrid-prp: every second of the hidden layers replaced, the others dense.

    Args:
        text: a name, with flags of the model behind colons: eugen:num_features=16:replace=2,3.
        model: the method's model config, with the flags that all contestants share.

    Raises:
        InputError: an unknown name, or a flag that is not name=value.
    """
    name, *flags = text.split(":")
    options = parse_options(flags)
    if name in LAYER_KINDS:
        return Contestant(name, options)
    if name not in CONTESTANTS:
        raise InputError(f"--layer {text}: there is no {name}; there are {', '.join(CONTESTANTS)}.")
    shared = with_options(model, "eugen", options)
    if name.startswith("hybrid-"):
        last = _setting(shared, "num_layers")
        return Contestant(name.partition("-")[2], options | {"replace": tuple(range(1, last, 2))})
    if name == "narrow-prp":
        target, size = _stored_bytes(with_options(shared, "prp")), _stored_bytes
    else:
        target, size = _parameters(shared), _parameters
    if name == "shallow":
        depths = (
            {"num_layers": depth} | _skips(shared, depth) for depth in range(1, _setting(shared, "num_layers") + 1)
        )
        return Contestant("dense", options | _nearest(shared, depths, size, target))
    widths = ({"layer_width": width} for width in range(4, _setting(shared, "layer_width") + 1))
    return Contestant("dense", options | _nearest(shared, widths, size, target))


def with_options(model: Any, layer: str, options: dict[str, Any] | None = None) -> Any:
    """A copy of a model config with other flags.

    Raises:
        InputError: the model has no such flag.
    """
    changed = copy.deepcopy(model)
    for name, value in ({"layer": layer} | (options or {})).items():
        if not hasattr(changed, name):
            raise InputError(f"the model has no option {name!r}.")
        setattr(changed, name, value)
    return changed


def parse_options(options: Iterable[str]) -> dict[str, Any]:
    """Model flags from name=value: numbers, numbers with commas (a tuple), True, False, None, or a word.

    Raises:
        InputError: one is not of that form.
    """
    parsed = {}
    for option in options:
        name, separator, text = option.partition("=")
        if not separator or not name.isidentifier():
            raise InputError(f"--options {option}: give name=value, such as num_layers=8.")
        try:
            parsed[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            parsed[name] = text
    return parsed


def _setting(model: Any, name: str) -> Any:
    """A flag, or what the model's size has for it."""
    return model.setting(name) if hasattr(model, "setting") else getattr(model, name)


def _skips(model: Any, depth: int) -> dict[str, Any]:
    """The skip connections that a trunk of so many layers still has."""
    return {"skip_connections": tuple(index for index in _setting(model, "skip_connections") if index <= depth)}


def _nearest(model: Any, choices: Iterable[dict[str, Any]], size: Callable[[Any], int], target: int) -> dict[str, Any]:
    """The flags whose dense field comes nearest to a size."""
    return min(choices, key=lambda options: abs(size(with_options(model, "dense", options)) - target))


def _build(model: Any) -> nn.Module:
    model = copy.deepcopy(model)
    if getattr(model, "regime", None) == "auto":
        model.regime = "bounded"  # sizes do not depend on it
    try:
        return model.build_field(torch.tensor([[-1.0] * 3, [1.0] * 3]))
    except (ValueError, TypeError) as error:
        raise InputError(f"--options: {error}.") from None


def _parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in _build(model).parameters())


def _stored_bytes(model: Any) -> int:
    return sum(value.nbytes for value in _build(model).state_dict().values())
