"""What a field costs to evaluate and to keep, in three measures."""

from __future__ import annotations

import torch
from torch import nn

from eugen_fields.benchmark.common.contestants import with_options
from eugen_fields.benchmark.quality.frontier.frontier_contestants import METHOD, Network
from eugen_fields.benchmark.quality.stored_fields import compact
from eugen_fields.fields import RadianceField
from eugen_fields.layers import PRPLinear
from eugen_fields.methods import METHODS
from eugen_fields.models import summary


def build(network: Network) -> RadianceField:
    """The untrained field of a contestant, in a box of side 2."""
    model = with_options(METHODS[METHOD].pipeline.model, network.parsed.layer, network.parsed.options)
    return model.build_field(torch.tensor([[-1.0] * 3, [1.0] * 3]))


def costs(field: RadianceField) -> dict[str, int]:
    """Costs of a field, trained or not.

    Returns:
        multiplications: of matrix products for one sample in the folded networks, without encodings;
        transform_multiplications: those, if the products with Hadamard matrices were made of additions alone;
        parameters: that are trained;
        compact_bytes: float32 values of the trained form, or of the folded one where that is smaller. Of a random
        matrix that is its seed.
    """
    multiplications = summary.multiplications(field)
    return {
        "multiplications": multiplications,
        "transform_multiplications": multiplications - sum(map(_saved, field.modules())),
        "parameters": sum(parameter.numel() for parameter in field.parameters()),
        "compact_bytes": summary.stored_bytes(compact(field)),
    }


def _saved(layer: nn.Module) -> int:
    """Multiplications that a fast Hadamard transform spares a layer. Its butterflies only add, which leaves those with
    alpha and with the scales of the outputs, and a low-rank term by itself."""
    if not isinstance(layer, PRPLinear) or layer.matrix != "hadamard":
        return 0
    return layer.in_features * layer.out_features - (1 + layer.rank) * (layer.in_features + layer.out_features)
