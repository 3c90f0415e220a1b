"""The networks that `eugen-bench layers` times, and the ways in which each can be run."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eugen_fields.encodings import FrequencyEncoding
from eugen_fields.fields import NeRFField
from eugen_fields.kernels import FusedField, FusedMLP, TiledMLP, TinyCudaMLP, Unsupported, select
from eugen_fields.kernels.run.launch import compiled_together
from eugen_fields.kernels.tiny_cuda import clear_biases
from eugen_fields.layers import MLP, fold, layer_options
from eugen_fields.layers.folding.folded import FoldedMLP
from eugen_fields.layers.kinds import layer_kind

Inputs = tuple[Tensor, ...]
Call = Callable[[], Any]


@dataclass(frozen=True)
class Kind:
    """A layer kind with its size."""

    layer: str
    num_features: int | None = None
    """m of EUGen and SNNK, the rank of low-rank layers; None for kinds that have neither."""
    order: int = 1
    """Highest order k of EUGen layers; 1 for other kinds."""

    @property
    def name(self) -> str:
        """As in the keys of the ratios: dense, eugen.m32."""
        return self.layer if self.num_features is None else f"{self.layer}.m{self.num_features}"

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of MLP."""
        if self.layer == "prp-hadamard":
            return {"layer": "prp", "matrix": "hadamard"}
        sizes = {"num_features": self.num_features, "rank": self.num_features, "order": self.order}
        names = () if self.num_features is None else layer_options(self.layer)
        return {"layer": self.layer} | {name: sizes[name] for name in names if name in sizes}


def kinds(layers: tuple[str, ...], features: tuple[int, ...], order: int) -> list[Kind]:
    """What is compared in one group: every layer at every m; above order 1 dense and EUGen layers alone."""
    if order > 1:
        layers = tuple(layer for layer in layers if layer in ("dense", "eugen"))
    found = []
    for layer in layers:
        sizes = (None,) if layer == "prp-hadamard" or layer_kind(layer).size is None else features
        found += [Kind(layer, size, order if layer == "eugen" else 1) for size in sizes]
    return found


def build(network: str, width: int, kind: Kind, seed: int) -> nn.Module:
    """An untrained network in its training form.

    Args:
        network: trunk, the eight layers of NeRF (63 inputs, which layer 4 sees again), or field, NeRF's whole network
            with its encodings and its colour head.
    """
    torch.manual_seed(seed)
    if network == "trunk":
        return MLP(63, 8, width, None, skip_connections=(4,), seed=seed, **kind.options)
    aabb = torch.tensor([[-1.0] * 3, [1.0] * 3])
    return NeRFField(aabb, layer_width=width, feature_dim=width, color_width=width // 2, seed=seed, **kind.options)


def make_inputs(network: str, batch: int, device: str, dtype: torch.dtype, seed: int) -> Inputs:
    """Encoded points (batch, 63) for a trunk; points and unit directions (batch, 3), float32, for a field."""
    generator = torch.Generator().manual_seed(seed)
    points = 2.0 * torch.rand(batch, 3, generator=generator) - 1.0
    if network == "trunk":
        return (FrequencyEncoding(3, 10)(points).to(device, dtype),)
    directions = nn.functional.normalize(torch.randn(batch, 3, generator=generator), dim=-1)
    return points.to(device), directions.to(device)


def inference_calls(
    network: nn.Module, inputs: Inputs, dtype: torch.dtype, backends: tuple[str, ...], tiles: tuple[int, ...]
) -> dict[str, Call]:
    """The ways to evaluate a network, by name ("eager", "tiled 512", ...); those that do not serve it are left out."""
    device = inputs[0].device
    folded = in_dtype(fold(network.to(device)), dtype)
    calls: dict[str, Call] = {}
    if "eager" in backends:
        calls["eager"] = _without_gradients(folded, inputs)
    if "tiled" in backends and device.type == "cpu" and dtype in (torch.float32, torch.float64):
        for tile in tiles:
            calls[f"tiled {tile}"] = _tiled_call(network, inputs, dtype, tile)
    if "compiled" in backends:
        compiled = _without_gradients(_compiled(folded), inputs)
        calls |= {"compiled": compiled} if _works(compiled) else {}
    if "fused" in backends and _serves(device, dtype):
        with contextlib.suppress(Unsupported):
            calls["fused"] = _without_gradients(FusedField(network, dtype).density_and_color, inputs)
    if "tiny-cuda-nn" in backends and _serves(device, dtype) and dtype == torch.float16 and isinstance(network, MLP):
        without_biases = copy.deepcopy(network)
        clear_biases(without_biases)
        with contextlib.suppress(Unsupported):
            calls["tiny-cuda-nn"] = _without_gradients(TinyCudaMLP(without_biases), inputs)
    return calls


def training_calls(
    network: nn.Module, inputs: Inputs, dtype: torch.dtype, backends: tuple[str, ...]
) -> dict[str, Call]:
    """A forward and a backward pass down to the gradients of all parameters. The fused one of a trunk multiplies
    numbers of `dtype`, and keeps its parameters in float32."""
    device = inputs[0].device
    trained = copy.deepcopy(network).to(device) if "fused" in backends and _serves(device, dtype) else None
    network = in_dtype(network.to(device), dtype)

    def step(forward: Callable, module: nn.Module = network) -> None:
        module.zero_grad(set_to_none=True)
        outputs = forward(*inputs)
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        torch.stack([part.float().square().mean() for part in parts]).sum().backward()

    calls: dict[str, Call] = {"eager": lambda: step(network)} if "eager" in backends else {}
    if "compiled" in backends:
        compiled = _compiled(network)
        calls |= {"compiled": lambda: step(compiled)} if _works(lambda: step(compiled)) else {}
    if isinstance(trained, MLP):
        with contextlib.suppress(Unsupported):
            fused = FusedMLP(trained, dtype)
            calls["fused"] = lambda: step(fused, trained)
    return calls


def compile_kernels(calls: dict[str, Call]) -> None:
    """Compiles the kernels of fused calls, all at once on all cores."""
    with compiled_together():
        for name, call in calls.items():
            if name.endswith("fused"):
                call()


def sizes(network: nn.Module) -> dict[str, int]:
    """Sizes of one network: multiplications of the folded form per point; weight_bytes, what the folded form reads;
    stored_bytes, what a checkpoint of the training form holds (fixed random matrices are not in it)."""
    folded = fold(network)
    chains = [module for module in folded.modules() if isinstance(module, FoldedMLP)]
    return {
        "multiplications": sum(chain.multiplications() for chain in chains),
        "weight_bytes": sum(value.nbytes for chain in chains for value in chain.buffers()),
        "stored_bytes": sum(value.nbytes for value in network.state_dict().values()),
    }


def ceiling(device: str, dtype: torch.dtype) -> tuple[Call, int]:
    """A product of two large square matrices, which no network outruns, and its multiplications."""
    size = 8192 if device.startswith("cuda") else 1024
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return lambda: left @ right, size**3


class _Cast(nn.Module):
    """A module that is handed its inputs in another dtype."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module.to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.to(self.dtype))


def in_dtype(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network with its matrices in a dtype; the encodings of a field stay in float32."""
    if dtype == torch.float32 or not isinstance(network, NeRFField):
        return network.to(dtype)
    for name in ("trunk", "color_head"):
        setattr(network, name, _Cast(getattr(network, name), dtype))
    return network


def _compiled(module: nn.Module) -> Callable:
    for limit in ("recompile_limit", "cache_size_limit"):  # its name before and after torch 2.6
        if hasattr(torch._dynamo.config, limit):
            setattr(torch._dynamo.config, limit, 1000)  # beyond it networks would run eagerly without a word
    return torch.compile(module, dynamic=False)


def _works(call: Call) -> bool:
    """Whether a compiled network can be called; compilers are missing on some machines."""
    try:
        call()
    except Exception as error:  # of torch's compiler, or of the one that it starts
        print(f"torch.compile fails here, compiled is left out: {(str(error).splitlines() or [''])[0]}", flush=True)
        return False
    return True


def _without_gradients(module: Callable, inputs: Inputs) -> Call:
    def call() -> Any:
        with torch.no_grad():
            return module(*inputs)

    return call


def _tiled_call(network: nn.Module, inputs: Inputs, dtype: torch.dtype, tile: int) -> Call:
    """A trunk in tiles; of a field, the encodings and the colour head go along with each tile."""
    folded = fold(network).to(dtype)
    if isinstance(folded, FoldedMLP):
        return _without_gradients(TiledMLP(folded, tile), inputs)
    for name in ("trunk", "color_head"):
        setattr(folded, name, TiledMLP(getattr(folded, name), tile))

    def call() -> list[Tensor]:
        with torch.no_grad():
            parts = [folded(*rows) for rows in zip(*(value.split(tile) for value in inputs))]
            return [torch.cat(values) for values in zip(*parts)]

    return call


def _serves(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether fused kernels are worth timing: on tensor cores."""
    return device.type in select.DEVICES and dtype in (torch.float16, torch.bfloat16)
