"""Folding: the inference form of a network, with the same outputs to rounding and fewer multiplications.

Remark IV of "EUGens: Efficient, Unified, and General Dense Layers" (arXiv 2410.09771). This file finds what can be
folded in a network; chain.py folds a chain of layers, folded.py holds the result.
"""

import copy
from collections import Counter
from typing import TypeGuard

import torch
from torch import nn

from eugen_fields.layers.activations import identity
from eugen_fields.layers.folding.chain import Chain
from eugen_fields.layers.folding.factors import fold_factors
from eugen_fields.layers.folding.folded import FoldedMLP
from eugen_fields.layers.folding.seeded import has_seeded_stage
from eugen_fields.layers.folding.tracing import called_modules, shallow_copy, successors
from eugen_fields.layers.layer import Layer, has_hooks
from eugen_fields.layers.mlp import MLP
from eugen_fields.layers.residual_factors import ResidualEUGen

Series = list[tuple[str, nn.Module]]
"""Layers with their names, each of which alone reads the one before; pass-through modules lie in between."""


def fold(module: nn.Module, *, materialise: bool = True) -> nn.Module:
    """The inference form of `module`: same outputs to rounding, fewer multiplications.

    - An MLP becomes a FoldedMLP, and so does a ResidualEUGen.
    - In any other module, an EUGenLinear (or another layer that holds its own activation) whose output goes to one
      nn.Linear or layer of this library and nowhere else is folded together with it, also across nn.Identity and across
      nn.Dropout in eval mode: call module.eval() first. The EUGenLinear's place takes a FoldedMLP, that of the others
      nn.Identity, and the module keeps its own forward, which is traced with torch.fx to find such pairs. Where it
      cannot be traced, and for layers that are called or registered more than once, every layer is folded by itself.
      What is not seen is a module that reaches past this forward to the layers in it, as model.block.fc2(x) does.
    - An nn.Sequential of which nothing else is left becomes the FoldedMLP itself.

    What is folded has buffers in place of parameters: it can no longer be trained, and sees no later change of the
    original, which is left alone. Everything else is copied under its old name, tied parameters stay tied, and layers
    with forward hooks or of a subclass are not folded. dtype, device and training mode are kept. Folding a folded
    module returns an equal copy. `folded_names` says where each entry of the state dict came from.

    Args:
        module: any module.
        materialise: write P of PRP layers out as part of a dense weight. False keeps it drawn from its seed, so that
            it is not stored, and moves the scales around it into neighbouring maps where that is exact.
    """
    with torch.no_grad():
        folded = _Folding(module, materialise).fold(module, "")
    if type(module) is nn.Sequential:
        left = [child for child in folded.children() if not isinstance(child, nn.Identity)]
        if len(left) == 1 and isinstance(left[0], FoldedMLP):
            return left[0]
    return folded


class _Folding:
    """One call of fold(): what has been folded or copied so far, so that shared modules and parameters stay shared."""

    def __init__(self, root: nn.Module, materialise: bool) -> None:
        self.materialise = materialise
        times = Counter(id(module) for _, module in root.named_modules(remove_duplicate=False))
        self.shared = {key for key, count in times.items() if count > 1}
        self.done: dict[int, nn.Module] = {}
        self.copied: dict[int, object] = {}

    def fold(self, module: nn.Module, name: str) -> nn.Module:
        """The folded form of `module`, whose qualified name is `name`."""
        if id(module) not in self.done:
            self.done[id(module)] = self._fold(module, name)
        return self.done[id(module)]

    def _fold(self, module: nn.Module, name: str) -> nn.Module:
        if _is_plain_mlp(module):
            return self._fold_mlp(module, name)
        if type(module) is ResidualEUGen and not has_hooks(module):
            return fold_factors(module, name).train(module.training)
        if _is_ours(module):
            return self._fold_series([("", module)], name)
        if hasattr(type(module), "__deepcopy__"):  # knows best how to be copied: parametrized or scripted
            return copy.deepcopy(module, self.copied)
        for series in self._series(module):
            self.done[id(series[0][1])] = self._fold_series(series, name)
            for _, layer in series[1:]:
                self.done[id(layer)] = nn.Identity().train(layer.training)
        folded = shallow_copy(module)
        folded._parameters = copy.deepcopy(module._parameters, self.copied)
        folded._buffers = copy.deepcopy(module._buffers, self.copied)
        for child_name, child in module._modules.items():
            if child is not None:
                folded._modules[child_name] = self.fold(child, _join(name, child_name))
        return folded

    def _fold_mlp(self, mlp: MLP, name: str) -> FoldedMLP:
        chain = Chain(self.materialise)
        for index, layer in enumerate(mlp.layers):
            skip_dim = mlp.in_dim if index in mlp.skip_connections else 0
            chain.add(layer, _join(name, f"layers.{index}"), mlp.activation_of(index), skip_dim)
        return chain.finish().train(mlp.training)

    def _fold_series(self, series: Series, name: str) -> FoldedMLP:
        chain = Chain(self.materialise)
        for layer_name, layer in series:
            if not _passes_through(layer):
                chain.add(layer, _join(name, layer_name), identity, 0)
        return chain.finish().train(series[0][1].training)

    def _series(self, module: nn.Module) -> list[Series]:
        """Series of at least two of the layers that `module` itself calls."""
        called = called_modules(module)
        opening = [name for name, layer in called.items() if self._opens(layer)]
        following = successors(module) if opening else {}
        steps = {name: self._next(name, called, following) for name in opening}
        reached = {step[-1][0] for step in steps.values() if step}
        found = []
        for name in opening:
            if steps[name] and name not in reached:
                series = [(name, called[name])]
                while steps.get(series[-1][0]):
                    series += steps[series[-1][0]]
                found.append(series)
        return found

    def _next(self, name: str, called: dict[str, nn.Module], following: dict[str, str]) -> Series:
        """The pass-through modules and the layer after `name`; empty if no layer can be folded with it."""
        step = []
        while name in following:
            name = following[name]
            module = called.get(name)
            if module is None or id(module) in self.shared:
                return []
            step.append((name, module))
            if _foldable(module):
                return step
            if not _passes_through(module):
                return []
        return []

    def _opens(self, layer: nn.Module) -> bool:
        """Whether the layer's last linear map can be folded into what follows."""
        if not _foldable(layer) or id(layer) in self.shared:
            return False
        return getattr(layer, "holds_activation", False) or (not self.materialise and has_seeded_stage(layer))


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name


def _foldable(module: nn.Module) -> bool:
    """A layer whose forward is known for sure: no subclass, no parametrization, no hooks."""
    return _is_ours(module) or (type(module) is nn.Linear and not has_hooks(module))


def _is_ours(module: nn.Module) -> bool:
    return isinstance(module, Layer) and "stages" in vars(type(module)) and not has_hooks(module)


def _is_plain_mlp(module: nn.Module) -> TypeGuard[MLP]:
    return isinstance(module, MLP) and type(module).forward is MLP.forward and not has_hooks(module)


def _passes_through(module: nn.Module) -> bool:
    """nn.Identity, or a dropout that drops nothing."""
    if has_hooks(module):
        return False
    return type(module) is nn.Identity or (type(module) is nn.Dropout and (not module.training or module.p == 0))
