"""Which sub-module reads which sub-module's output: read off a module's forward without running it."""

import copy
import inspect
from collections import Counter
from typing import Any

from torch import fx, nn


class _LeafTracer(fx.Tracer):
    """Records calls of sub-modules without looking into them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def shallow_copy(module: nn.Module) -> nn.Module:
    """A module with tables of its own that hold the same parameters, buffers and sub-modules."""
    copied = copy.copy(module)
    copied._parameters = dict(module._parameters)
    copied._buffers = dict(module._buffers)
    copied._modules = dict(module._modules)
    return copied


def called_modules(module: nn.Module) -> dict[str, nn.Module]:
    """The sub-modules that the module's own forward can call by name: its children and, for children without a
    forward (nn.ModuleList, nn.ModuleDict), theirs. Keys are qualified names."""
    called = {}
    for name, child in module.named_children():
        called[name] = child
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            called |= {f"{name}.{below}": value for below, value in called_modules(child).items()}
    return called


def successors(module: nn.Module) -> dict[str, str]:
    """For each sub-module whose output goes to one other sub-module and nowhere else, the name of that one.

    Both are registered once, called once in the module's forward, and none of their parameters is read from outside.
    A forward that cannot be traced (torch.fx; for example one whose branches depend on values) has no entries. Branches
    on optional arguments are taken both ways, and only what holds either way is kept.
    """
    names = Counter(id(child) for _, child in module.named_modules(remove_duplicate=False))
    once = {name for name, child in called_modules(module).items() if names[id(child)] == 1}
    return {a: b for a, b in _successors(module).items() if a in once and b in once}


def _successors(module: nn.Module) -> dict[str, str]:
    if type(module).forward is nn.Sequential.forward:
        return dict(zip(module._modules, list(module._modules)[1:]))
    try:
        arguments = inspect.signature(module.forward).parameters.values()
    except ValueError:  # a compiled forward
        return {}
    defaults = {a.name: a.default for a in arguments if a.default is not inspect.Parameter.empty}
    links = _links(module, None)
    if defaults:
        without = _links(module, defaults)
        links = {a: b for a, b in links.items() if without.get(a) == b}
    return links


def _links(module: nn.Module, concrete_args: dict[str, Any] | None) -> dict[str, str]:
    try:  # on a copy: a forward may store what it computes on self
        graph = _LeafTracer().trace(shallow_copy(module), concrete_args)
    except Exception:  # whatever the forward does that needs values instead of stand-ins
        return {}
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    touched = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    links = {}
    for node in graph.nodes:
        if node.op != "call_module" or len(node.users) != 1:
            continue
        (reader,) = node.users
        alone = reader.op == "call_module" and reader.args == (node,) and not reader.kwargs
        if alone and all(calls[n.target] == 1 and n.target not in touched for n in (node, reader)):
            links[node.target] = reader.target
    return links
