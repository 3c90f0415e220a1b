"""What the networks of a model are, in a few rows for a person to read."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from eugen_fields.layers.folding import fold
from eugen_fields.models.layer_flags import LayerFlags

_OPTIONS = ("num_features", "order", "rank", "matrix")
"""Of the layers, as far as they have a size or another form."""


def network_facts(config: LayerFlags, networks: Mapping[str, nn.Module]) -> dict[str, str]:
    """Layer kind, parameters, multiplications of a sample (folded) and bytes in a checkpoint.

    Args:
        networks: trained or in training, before folding, by name; the first is the field.
    """
    counts = [f"{multiplications(network):,}" for network in networks.values()]
    names = f" ({' + '.join(networks)})" if len(networks) > 1 else ""
    return {
        "layer": _layer_text(config, next(iter(networks.values()))),
        "parameters": f"{sum(values.numel() for network in networks.values() for values in network.parameters()):,}",
        "multiplications a sample": " + ".join(counts) + names,
        "weights": f"{sum(map(stored_bytes, networks.values())):,} bytes in a checkpoint",
    }


def _layer_text(config: LayerFlags, field: nn.Module) -> str:
    """The kind of the hidden layers, which layers of the trunk are of it, and their options."""
    layer, replaced = config.layer, getattr(field.trunk, "replace", ())
    if replaced and layer != "dense":
        layer += f" (layers {', '.join(map(str, replaced))})"
    settings = config.layer_settings()
    options = [f"{name.replace('_', ' ')} {settings[name]}" for name in _OPTIONS if settings.get(name)]
    return ", ".join([layer, *options])


def multiplications(network: nn.Module) -> int:
    """Of one sample in the folded network, without its encodings."""
    parts = (getattr(fold(network), name, None) for name in ("trunk", "color_head"))
    return sum(part.multiplications() for part in parts if part is not None)  # type: ignore[operator]


def stored_bytes(network: nn.Module) -> int:
    """What a network takes of a checkpoint."""
    return sum(values.nbytes for values in network.state_dict().values())
