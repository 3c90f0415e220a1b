"""CPU inference of folded networks in tiles of rows that stay in the cache from the first layer to the last.

Layer by layer, a batch of 65,536 rows at width 256 writes 64 MB and reads them back for every layer, and EUGen layers,
which multiply little, wait for memory all the time. Here some hundred rows go through all layers before the next ones
follow, in two buffers that are written over and over, with activations in place.

The plain torch reference is FoldedMLP itself: the same results to rounding.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.activations import get_activation
from eugen_fields.layers.folding import fold
from eugen_fields.layers.folding.folded import INPUT, FoldedMLP, FoldedStage, value_name
from eugen_fields.layers.snnk import bounded_exp

DEFAULT_TILE = 2048
"""Rows. Two tiles of 2048 x 256 numbers take 4 MB: with 2 MB of second-level cache that was faster than 1024 rows, for
dense layers by 5 % and for EUGen layers with 32 features by 27 %; in networks 128 wide by 16 % and 13 %."""

_IN_PLACE: dict[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] = {
    get_activation("identity"): lambda x: x,
    get_activation("relu"): torch.relu_,
    get_activation("silu"): lambda x: F.silu(x, inplace=True),
    get_activation("sine"): torch.sin_,
    get_activation("tanh"): torch.tanh_,
    get_activation("sigmoid"): torch.sigmoid_,
    bounded_exp: lambda x: x.clamp_(-30.0, 10.0).exp_(),
}
"""Activations that need no memory of their own; others are called as they are."""


def tiled(module: nn.Module, tile: int = DEFAULT_TILE) -> nn.Module:
    """The inference form of a module (`fold`) in which every folded MLP works through its rows in tiles.

    Args:
        module: any module, folded or not; it is left alone.
        tile: rows that go through all layers together. 1024 to 2048 suit the caches of current CPUs.

    Raises:
        ValueError: a tile below 1.
    """
    return _with_tiles(fold(module), tile)


def _with_tiles(module: nn.Module, tile: int) -> nn.Module:
    if isinstance(module, FoldedMLP):
        return TiledMLP(module, tile)
    if isinstance(module, TiledMLP):
        return TiledMLP(module.folded, tile)
    for name, child in module.named_children():
        setattr(module, name, _with_tiles(child, tile))
    return module


class TiledMLP(nn.Module):
    """A folded MLP that takes its rows in tiles. Shapes as before: x (..., in_dim) to y (..., out_dim).

    What tiles do not serve goes through the folded MLP whole: other devices than the CPU, half precision, gradients,
    and tracing. A stage of an unknown kind is called as it is, on one tile after the other.

    Args:
        folded: shared, not copied.
        tile: rows.

    Raises:
        ValueError: a tile below 1.
    """

    def __init__(self, folded: FoldedMLP, tile: int = DEFAULT_TILE) -> None:
        super().__init__()
        if tile < 1:
            raise ValueError(f"tile is {tile}; it must be a positive integer")
        self.folded = folded
        self.tile = tile

    def multiplications(self) -> int:
        """Multiplications of the matrix products for one input."""
        return self.folded.multiplications()

    def forward(self, x: Tensor) -> Tensor:
        if not _tiles_serve(x):
            return self.folded(x)
        with torch.no_grad():
            rows = x.reshape(-1, x.shape[-1])
            # per call: several threads may be inside one module, and matrices may have been loaded since
            stages: list[Any] = [_TiledStage(s) if type(s) is FoldedStage else s for s in self.folded.stages]
            widest = max((len(s.bias) for s in stages if isinstance(s, _TiledStage)), default=0)
            tile = max(1, min(self.tile, len(rows)))
            places = _places(self.folded.last_reads)
            buffers = [rows.new_empty(tile * widest) for _ in range(max(places) + 1)]
            out = rows.new_empty(len(rows), stages[-1].out_features)
            for inputs, target in zip(rows.split(tile), out.split(tile)):
                _through(stages, self.folded.last_reads, inputs, [buffers[place] for place in places], target)
            return out.view(*x.shape[:-1], out.shape[-1])


def _places(last_reads: list[tuple[str, ...]]) -> list[int]:
    """For each stage, the number of the buffer that its value goes to: one that holds nothing that is still read. In a
    plain chain they are 0 and 1 in turn."""
    free: list[int] = []
    used: dict[str, int] = {}
    places: list[int] = []
    for index, done in enumerate(last_reads):
        place = free.pop() if free else len(used)
        places.append(place)
        free += [used.pop(name) for name in done if name in used]
        used[value_name(index)] = place
    return places


def _tiles_serve(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and is_plain(x)


def is_plain(x: Tensor) -> bool:
    """Whether nothing but the values of x is wanted: no gradient, no tracing, no transform of torch.func."""
    if (x.requires_grad and torch.is_grad_enabled()) or torch.compiler.is_compiling():
        return False
    return type(x) in (Tensor, nn.Parameter) and not torch._C._functorch.is_functorch_wrapped_tensor(x)  # type: ignore[attr-defined]


def _through(
    stages: list[Any], last_reads: list[tuple[str, ...]], x: Tensor, buffers: list[Tensor], out: Tensor
) -> None:
    """One tile x (rows, in_dim) through all stages, each into its buffer, the last into out (rows, out_dim)."""
    values = {INPUT: x}
    value = x
    for index, stage in enumerate(stages):
        if isinstance(stage, _TiledStage):
            direct = stage is stages[-1] and stage.out_features == len(stage.bias)
            value = stage(values, out.view(-1) if direct else buffers[index])
        else:
            value = stage(values)
        for name in last_reads[index]:
            del values[name]
        values[value_name(index)] = value
    if value.data_ptr() != out.data_ptr():
        out.copy_(value)


class _TiledStage:
    """FoldedStage on one tile, written into a given buffer: values (rows, width) by name to (rows, features).

    The matrix that gives the norm of what the stage reads stands below the stage's own, so that one product does both.
    """

    def __init__(self, stage: FoldedStage) -> None:
        self.first, *self.others = stage.reads
        weights = stage.weights
        weight, self.bias, self.width = weights[self.first], stage.bias, len(stage.bias)
        if stage.norm_weight is not None and stage.norm_bias is not None:
            weight = torch.cat([weight, stage.norm_weight])
            self.bias = torch.cat([self.bias, stage.norm_bias])
        self.weight = weight.t()
        self.other_weights = [weights[name].t() for name in self.others]
        self.norm_column, self.squared_norm = stage.norm_column, stage.squared_norm
        if self.norm_column is not None and self.squared_norm:
            self.norm_column = self.norm_column.square()
        self.products = stage.products
        self.out_features = stage.out_features
        self.activation = _IN_PLACE.get(stage.activation, stage.activation)

    def __call__(self, values: dict[str, Tensor], buffer: Tensor) -> Tensor:
        f, others = values[self.first], [values[name] for name in self.others]
        z = buffer[: len(f) * len(self.bias)].view(len(f), len(self.bias))
        torch.addmm(self.bias, f, self.weight, out=z)
        z, h = (z[:, : self.width], z[:, self.width :]) if z.shape[1] > self.width else (z, f)
        for value, weight in zip(others, self.other_weights):
            z.addmm_(value, weight)
        if self.norm_column is not None:
            squared = torch.linalg.vector_norm(h, dim=-1, keepdim=True).square_()
            for value in others:
                squared += torch.linalg.vector_norm(value, dim=-1, keepdim=True).square_()
            squared += 1e-12  # of safe_norm
            if self.squared_norm:
                z.addcmul_(squared, self.norm_column, value=-1.0)
            else:
                z.addcmul_(squared.sqrt_(), self.norm_column)
        if self.products is not None:
            z = _products_in_place(z, *self.products)
        return self.activation(z)


def _products_in_place(projected: Tensor, num_features: int, order: int, share_projections: bool) -> Tensor:
    """layers.eugen.product_features, written over its input: shape (rows, projections * m) to (rows, order * m)."""
    blocks = projected.split(num_features, dim=1)
    for i in range(2, order + 1):
        if share_projections:
            blocks[i - 1].mul_(blocks[i - 2])
            continue
        start = i * (i - 1) // 2  # at or behind i - 1, which lower orders have read already
        product = torch.mul(blocks[start], blocks[start + 1], out=blocks[i - 1])
        for j in range(2, i):
            product.mul_(blocks[start + j])
    return projected[:, : order * num_features]
