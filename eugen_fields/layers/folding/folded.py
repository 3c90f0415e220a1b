"""The modules that folding leaves behind: chains of stages without trainable parameters.

A stage reads earlier values of its chain by name: INPUT, the input of the whole chain, and value_name(i), what stage i
returned. A plain chain reads the stage before; a skip connection reads the input as well, and a densely connected
network, such as residual EUGen layers fold into, everything before (layers/residual.py).
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eugen_fields.layers.activations import Activation, get_activation, identity, safe_norm
from eugen_fields.layers.eugen import product_features
from eugen_fields.layers.layer import Affine, Names

INPUT = "x"
"""Name of the input of a chain."""


def value_name(index: int) -> str:
    """Name of what stage `index` of a chain returns; INPUT for -1."""
    return f"f{index + 1}" if index >= 0 else INPUT


def passes_scale(activation: Activation, scale: Tensor) -> bool:
    """Whether activation(z) * scale = activation(z * scale): always for the identity, for relu if scale >= 0."""
    if activation is get_activation("relu"):
        return bool((scale >= 0).all())
    return activation is identity


class Stage(nn.Module):
    """Base of the stages of a FoldedMLP: earlier values of the chain, by name, to one value (..., features).

    `reads` names those that it reads. `sources` names, for each entry of its state dict, the entries of the original
    module that it was computed from.
    """

    reads: tuple[str, ...]
    sources: dict[str, Names]

    def forward(self, values: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError

    def multiplications(self) -> int:
        """Multiplications of the matrix products for one input."""
        raise NotImplementedError

    def scale_output(self, scale: Tensor, names: Names) -> bool:
        """Multiplies the stage's outputs by `scale` (features,), which was computed from the entries `names`, if that
        is exact; False, and nothing done, if not."""
        return False

    def take_output_scale(self) -> Affine | None:
        """Drops the affine map that the stage ends with, for the next stage to take over; None if it cannot."""
        return None

    def _scale_entries(self, entries: Sequence[str], scale: Tensor, names: Names) -> None:
        for name in entries:
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value * (scale if value.dim() == 1 else scale[:, None]))
                self.sources[name] += names


class FoldedStage(Stage):
    """activation(products(sum_v W_v v + norm_column |[u; h]| + bias)): a matrix product, then features.

    v are the values that it reads. The norm is that of all of them side by side, the first one behind the others u and
    as h = norm_weight v + norm_bias (v itself where those are None). With `squared_norm` (SNNK) the norm term is
    -(norm_column |[u; h]|)^2.

    Args:
        weights: W_v, shape (rows, width of v), by the name of v.
        bias: shape (rows,).
        norm_column: shape (rows,).
        norm_weight, norm_bias: shapes (any, width of the first value) and (any,).
        products: arguments num_features, order, share_projections of layers.eugen.product_features.
        activation: of the products.
        sources: original entries behind each of "weight_<v>" (for every v), "bias", "norm_column", "norm_weight" and
            "norm_bias" that is there; None: nothing is known of any.
    """

    bias: Tensor
    norm_column: Tensor | None
    norm_weight: Tensor | None
    norm_bias: Tensor | None

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        bias: Tensor,
        *,
        norm_column: Tensor | None = None,
        norm_weight: Tensor | None = None,
        norm_bias: Tensor | None = None,
        squared_norm: bool = False,
        products: tuple[int, int, bool] | None = None,
        activation: Activation = identity,
        sources: Mapping[str, Names] | None = None,
    ) -> None:
        super().__init__()
        self.reads = tuple(weights)
        self.squared_norm = squared_norm
        self.products = products
        self.activation = activation
        entries = {f"weight_{name}": weight for name, weight in weights.items()} | {
            "bias": bias,
            "norm_column": norm_column,
            "norm_weight": norm_weight,
            "norm_bias": norm_bias,
        }
        for name, value in entries.items():
            self.register_buffer(name, value)
        self.sources = {name: sources[name] if sources else () for name, value in entries.items() if value is not None}

    @property
    def weights(self) -> dict[str, Tensor]:
        """W_v by the name of the value v that it multiplies."""
        return {name: getattr(self, f"weight_{name}") for name in self.reads}

    @property
    def out_features(self) -> int:
        """Width of the stage's value."""
        return len(self.bias) if self.products is None else self.products[0] * self.products[1]

    def scale_output(self, scale: Tensor, names: Names) -> bool:
        if self.products is not None or not passes_scale(self.activation, scale):
            return False
        self._scale_entries([*(f"weight_{name}" for name in self.reads), "bias", "norm_column"], scale, names)
        return True

    def multiplications(self) -> int:
        matrices = (*self.weights.values(), self.norm_weight)
        return sum(matrix.numel() for matrix in matrices if matrix is not None)

    def norm(self, values: Mapping[str, Tensor]) -> Tensor:
        """|[u; h]|, shape (..., 1): what norm_column is multiplied by."""
        first, *others = self.reads
        h = values[first]
        h = h if self.norm_weight is None else F.linear(h, self.norm_weight, self.norm_bias)
        return safe_norm(torch.cat([*(values[name] for name in others), h], dim=-1) if others else h)

    def projected(self, values: Mapping[str, Tensor]) -> Tensor:
        """What products are made from and the activation is applied to, shape (..., rows)."""
        weights = self.weights
        first, *others = self.reads
        z = F.linear(values[first], weights[first], self.bias)
        for name in others:
            z = z + F.linear(values[name], weights[name])
        if self.norm_column is not None:
            norm_term = self.norm(values) * self.norm_column
            z = z - norm_term.square() if self.squared_norm else z + norm_term
        return z

    def forward(self, values: Mapping[str, Tensor]) -> Tensor:
        z = self.projected(values)
        if self.products is not None:
            z = product_features(z, *self.products)
        return self.activation(z)


class Joined(Stage):
    """Earlier values side by side, shape (..., out_features): what layers that append leave behind, where no linear
    layer reads it in parts."""

    def __init__(self, reads: Sequence[str], out_features: int) -> None:
        super().__init__()
        self.reads = tuple(reads)
        self.out_features = out_features
        self.sources = {}

    def multiplications(self) -> int:
        return 0

    def forward(self, values: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([values[name] for name in self.reads], dim=-1)


class FoldedMLP(nn.Module):
    """The inference form of an MLP or a chain of layers. Shapes as before: x (..., in_dim) to y (..., out_dim).

    Raises:
        ValueError: a stage reads a value that no stage before it returns.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        last_reader: dict[str, int] = {}
        for index, stage in enumerate(stages):
            known = [value_name(earlier) for earlier in range(-1, index)]
            for name in stage.reads:
                if name not in known:
                    raise ValueError(f"stage {index} reads {name}; before it there are {', '.join(known)}")
                last_reader[name] = index
        self.last_reads = [
            tuple(name for name, reader in last_reader.items() if reader == index) for index in range(len(stages))
        ]
        """For each stage, the values that no later stage reads."""

    def multiplications(self) -> int:
        """Multiplications of the matrix products for one input."""
        return sum(stage.multiplications() for stage in self.stages if isinstance(stage, Stage))

    def forward(self, x: Tensor) -> Tensor:
        values = {INPUT: x}
        value = x
        for index, stage in enumerate(self.stages):
            value = stage(values)
            for name in self.last_reads[index]:
                del values[name]
            values[value_name(index)] = value
        return value


def folded_names(folded: nn.Module) -> dict[str, Names]:
    """For each entry of a folded module's state dict, the entries of the original's that it was computed from.

    What was not folded comes from the entry of its own name. An empty tuple is a constant, such as the zeros that
    stand for a missing bias. Names are relative to the module that fold() was called with.
    """
    names = {}
    for name in folded.state_dict():
        owner, _, entry = name.rpartition(".")
        stage = folded.get_submodule(owner)
        names[name] = stage.sources[entry] if isinstance(stage, Stage) else (name,)
    return names
