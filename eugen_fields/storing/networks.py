"""Folded networks as the stages of a field file, and back.

A stage is described by a few words, and its numbers are named `NETWORK.INDEX.ENTRY`, where entries are those of the
folded stages (layers.folding) and the matrix that reads value v is `weight.v`. Matrices and vectors are told apart by
their number of axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from eugen_fields.errors import InputError
from eugen_fields.layers import PRPLinear
from eugen_fields.layers.activations import ACTIVATIONS, Activation
from eugen_fields.layers.folding.folded import INPUT, FoldedMLP, FoldedStage, Joined, Stage, value_name
from eugen_fields.layers.folding.seeded import FoldedPRP
from eugen_fields.layers.snnk import bounded_exp
from eugen_fields.storing.damage import DamagedFile

STORED_ACTIVATIONS: dict[str, Activation] = ACTIVATIONS | {"bounded-exp": bounded_exp}
"""Activations by the names that they have in field files."""
MOST_STAGES = 32
MOST_WIDTH = 1024
MOST_DRAWN = 1 << 21
"""Entries of all matrices of a network that are drawn from seeds."""
MATRICES = ("gaussian", "ternary", "orthogonal", "hadamard")
_STAGE_ENTRIES = {"type", "reads", "activation", "norm", "products", "matrix", "out", "seed"}
_PRP_VECTORS = ("alpha", "scale", "bias")


def describe(network: FoldedMLP, name: str) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """The stages of a folded network, and its numbers by their names.

    Raises:
        ValueError: a stage or an activation that field files do not have.
    """
    stages, numbers = [], {}
    for index, stage in enumerate(network.stages):
        assert isinstance(stage, Stage)
        about: dict[str, Any] = {"reads": list(stage.reads)}
        entries: dict[str, Tensor | None] = {}
        if isinstance(stage, FoldedStage):
            entries = {f"weight.{read}": weight for read, weight in stage.weights.items()}
            entries |= {entry: getattr(stage, entry) for entry in ("bias", "norm_column", "norm_weight", "norm_bias")}
            if stage.norm_column is not None:
                about["norm"] = "squared" if stage.squared_norm else "plain"
            if stage.products is not None:
                about["products"] = [stage.products[0], stage.products[1], bool(stage.products[2])]
        elif isinstance(stage, FoldedPRP):
            entries = {entry: getattr(stage, entry) for entry in (*_PRP_VECTORS, "down", "up")}
            about |= {"type": "prp", "matrix": stage.matrix, "out": stage.out_features, "seed": str(int(stage.seed))}
        elif isinstance(stage, Joined):
            about["type"] = "joined"
        else:
            raise ValueError(f"stages of type {type(stage).__name__} cannot be stored")
        if not isinstance(stage, Joined):
            about["activation"] = _activation_name(stage.activation)
        numbers |= {
            f"{name}.{index}.{entry}": value.detach().float().cpu()
            for entry, value in entries.items()
            if value is not None
        }
        stages.append(about)
    return stages, numbers


def _activation_name(activation: Activation) -> str:
    for name, function in STORED_ACTIVATIONS.items():
        if function is activation:
            return name
    raise ValueError(f"activation {activation} cannot be stored; those that can are {', '.join(STORED_ACTIVATIONS)}")


class NetworkReader:
    """Builds networks from their stages and numbers, each of which is used once.

    Args:
        numbers: by their names; those that are used are taken out.
        source: name of the file, for messages.
        later: pass over entries of stages that are not known, as in a file of a later version.
    """

    def __init__(self, numbers: dict[str, Tensor], source: str, later: bool = False) -> None:
        self._numbers, self._source, self._later = numbers, source, later
        self._drawn = 0

    def build(self, name: str, stages: Any, in_dim: int, out_dim: int) -> FoldedMLP:
        """The network of a name, from in_dim to out_dim.

        Raises:
            InputError: the stages or their numbers are not those of a network of these widths.
        """
        if not isinstance(stages, list) or not 1 <= len(stages) <= MOST_STAGES:
            raise self._wrong(f"network {name} has no list of 1 to {MOST_STAGES} stages")
        widths = {INPUT: in_dim}
        built: list[Stage] = []
        for index, about in enumerate(stages):
            place = f"{name}.{index}"
            if not isinstance(about, dict) or not (self._later or _STAGE_ENTRIES.issuperset(about)):
                raise self._wrong(f"stage {place} is not described as stages are")
            reads = about.get("reads")
            if not isinstance(reads, list) or not reads or len(set(map(str, reads))) != len(reads):
                raise self._wrong(f"stage {place} does not say what it reads")
            if not all(isinstance(read, str) and read in widths for read in reads):
                raise self._wrong(f"stage {place} reads what no stage before it returns")
            stage, width = self._stage(place, about, {read: widths[read] for read in reads})
            if not 1 <= width <= (MOST_WIDTH if not isinstance(stage, Joined) else MOST_STAGES * MOST_WIDTH):
                raise self._wrong(f"stage {place} is {width} wide; at most {MOST_WIDTH} are allowed")
            built.append(stage)
            widths[value_name(index)] = width
        if width != out_dim:
            raise self._wrong(f"network {name} returns {width} values; {out_dim} are wanted")
        return FoldedMLP(built).eval()

    def _stage(self, place: str, about: Mapping[str, Any], widths: Mapping[str, int]) -> tuple[Stage, int]:
        """A stage and the width of what it returns, from the widths of what it reads."""
        kind = about.get("type", "linear")
        if kind == "joined":
            return Joined(tuple(widths), sum(widths.values())), sum(widths.values())
        name = about.get("activation")
        if not isinstance(name, str) or name not in STORED_ACTIVATIONS:
            raise self._wrong(f"stage {place} has an activation that is not known")
        activation = STORED_ACTIVATIONS[name]
        if kind == "prp":
            return self._prp(place, about, widths, activation)
        if kind != "linear":
            raise self._wrong(f"stage {place} is of a type that is not known")
        return self._linear(place, about, widths, activation)

    def _linear(
        self, place: str, about: Mapping[str, Any], widths: Mapping[str, int], activation: Activation
    ) -> tuple[Stage, int]:
        bias = self._take(f"{place}.bias", None)
        rows = len(bias)
        weights = {read: self._take(f"{place}.weight.{read}", (rows, width)) for read, width in widths.items()}
        norm = about.get("norm")
        if norm not in (None, "plain", "squared"):
            raise self._wrong(f"stage {place} has a norm that is not known")
        norm_column = norm_weight = norm_bias = None
        if norm is not None:
            norm_column = self._take(f"{place}.norm_column", (rows,))
            if f"{place}.norm_weight" in self._numbers:
                norm_bias = self._take(f"{place}.norm_bias", None)
                first = next(iter(widths.values()))
                norm_weight = self._take(f"{place}.norm_weight", (len(norm_bias), first))
        width = rows
        products = about.get("products")
        if products is not None:
            products, width = self._products(place, products, rows)
        stage = FoldedStage(
            weights,
            bias,
            norm_column=norm_column,
            norm_weight=norm_weight,
            norm_bias=norm_bias,
            squared_norm=norm == "squared",
            products=products,
            activation=activation,
        )
        return stage, width

    def _products(self, place: str, products: Any, rows: int) -> tuple[tuple[int, int, bool], int]:
        """Arguments of product_features, and the number of features."""
        if isinstance(products, list) and len(products) == 3:
            count, order, share = products
            if type(count) is int and type(order) is int and type(share) is bool and count > 0 and 1 <= order <= 4:
                if rows == count * (order if share else order * (order + 1) // 2):
                    return (count, order, share), count * order
        raise self._wrong(f"stage {place} has products that do not fit its {rows} rows")

    def _prp(
        self, place: str, about: Mapping[str, Any], widths: Mapping[str, int], activation: Activation
    ) -> tuple[Stage, int]:
        matrix, out, seed = about.get("matrix"), about.get("out"), about.get("seed")
        if matrix not in MATRICES:
            raise self._wrong(f"stage {place} has a random matrix that is not one of {', '.join(MATRICES)}")
        in_features = sum(widths.values())
        if type(out) is not int or not 1 <= out <= MOST_WIDTH or in_features > MOST_STAGES * MOST_WIDTH:
            raise self._wrong(f"stage {place} has no width from 1 to {MOST_WIDTH}")
        if (
            not isinstance(seed, str)
            or not seed.isascii()
            or not seed.isdigit()
            or len(seed) > 19
            or not int(seed) < 1 << 63
        ):
            raise self._wrong(f"stage {place} has no seed from 0 to 2^63 - 1")
        self._drawn += out * in_features
        if self._drawn > MOST_DRAWN:
            raise self._wrong(f"its random matrices have more than {MOST_DRAWN:,} entries")
        lengths = {"alpha": in_features, "scale": out, "bias": out}
        vectors = {
            entry: self._take(f"{place}.{entry}", (length,))
            for entry, length in lengths.items()
            if f"{place}.{entry}" in self._numbers
        }
        if f"{place}.down" in self._numbers:
            vectors["down"] = self._take(f"{place}.down", (None, in_features))
            vectors["up"] = self._take(f"{place}.up", (out, len(vectors["down"])))
        layer = PRPLinear(in_features, out, matrix=matrix, seed=int(seed))
        stage = FoldedPRP(layer, "", tuple(widths), activation)
        for entry in (*_PRP_VECTORS, "down", "up"):
            setattr(stage, entry, vectors.get(entry))
        stage.sources = {entry: () for entry in stage.state_dict()}
        return stage, out

    def _take(self, name: str, shape: tuple[int | None, ...] | None) -> Tensor:
        """The numbers of a name, of a shape in which None is any length; a shape of None is that of any vector."""
        value = self._numbers.pop(name, None)
        if value is None:
            raise self._wrong(f"it lacks {name}")
        shape = (None,) if shape is None else shape
        fits = value.dim() == len(shape) and all(want in (None, have) for want, have in zip(shape, value.shape))
        if not fits or not all(1 <= side <= MOST_STAGES * MOST_WIDTH for side in value.shape):
            raise self._wrong(f"{name} has shape {tuple(value.shape)}, which does not fit its stage")
        return value

    def _wrong(self, what: str) -> InputError:
        return DamagedFile(self._source, what)


def dequantised(arrays: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """The numbers of networks in float32, from arrays: matrices of int8 with a scale for each row in an array
    `NAME.scale`, or float matrices and vectors.

    Raises:
        InputError: a scale is missing or does not fit.
    """
    numbers = {}
    for name, array in arrays.items():
        matrix = arrays.get(name.removesuffix(".scale"))
        if name.endswith(".scale") and matrix is not None and matrix.dtype.kind == "i":
            continue
        value = torch.from_numpy(array.astype("float32"))
        if array.dtype.kind == "i":
            scale = arrays.get(f"{name}.scale")
            if scale is None or scale.dtype.str != "<f2" or array.ndim != 2 or scale.shape != array.shape[:1]:
                raise DamagedFile(source, f"{name} has no float16 scale for each row")
            value = value * torch.from_numpy(scale.astype("float32"))[:, None]
        elif array.dtype.kind == "u":
            raise DamagedFile(source, f"{name} holds bytes where numbers are wanted")
        numbers[name] = value
    return numbers
