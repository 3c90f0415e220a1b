"""A summary of a model's networks, in a few rows for a person to read."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from eugen_fields.layers.folding import fold
from eugen_fields.models.protocols import ModelFlags

_SHOWN_OPTIONS = {"num_features": "{} features", "order": "order {}", "rank": "rank {}", "matrix": "{} matrix"}
"""Layer options shown on the card, and how they are written."""


def network_summary(config: ModelFlags, networks: Mapping[str, nn.Module]) -> dict[str, str]:
    """Layer kind, number of parameters, multiplications per sample of the folded networks, and size in a checkpoint,
    as text.

    Args:
        networks: trained or in training, before folding, by name; the first is the field.
    """
    counts = {name: f"{multiplications(network):,}" for name, network in networks.items()}
    if len(counts) > 1:
        counts = {name: f"{count} ({name})" for name, count in counts.items()}
    return {
        "Layers": layers_summary(config, next(iter(networks.values()))),
        "Parameters": f"{sum(values.numel() for network in networks.values() for values in network.parameters()):,}",
        "Multiplications per sample": " + ".join(counts.values()),
        "Size of the weights": f"{sum(map(stored_bytes, networks.values())):,} bytes",
    }


def layers_summary(config: ModelFlags, field: nn.Module) -> str:
    """The kind of the hidden layers, which layers of the trunk are of it, and their options."""
    kind, replaced = getattr(field.trunk, "layer", config.layer), getattr(field.trunk, "replace", ())
    layer = kind
    if replaced and layer != "dense":
        layer += f" (layers {', '.join(map(str, replaced))})"
    settings = config.layer_settings(kind)
    options = [text.format(settings[name]) for name, text in _SHOWN_OPTIONS.items() if settings.get(name)]
    return ", ".join([layer, *options])


def multiplications(network: nn.Module) -> int:
    """Multiplications per sample in the folded network, without its encodings."""
    folded = fold(network)
    parts = [getattr(folded, name) for name in ("trunk", "color_head") if hasattr(folded, name)]
    return sum(part.multiplications() for part in parts)


def stored_bytes(network: nn.Module) -> int:
    """Bytes that a network takes in a checkpoint."""
    return sum(values.nbytes for values in network.state_dict().values())
