"""What a run is, in a few rows: layer kind, parameters, multiplications, bytes, times."""

from __future__ import annotations

from torch import nn

from eugen_fields.layers import fold
from eugen_viewer.live import Timing
from eugen_viewer.opened import Shown


def facts(shown: Shown) -> dict[str, str]:
    """Rows of the card that belong to the checkpoint."""
    run = shown.run
    config = run.model_config
    networks = networks_of(shown)
    layer = config.layer
    if config.replace is not None and layer != "dense":
        layer += f" (layers {', '.join(map(str, config.replace))})"
    options = ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in config.layer_settings().items()
        if name in ("num_features", "order", "rank", "matrix") and value
    )
    weights = sum(
        value.numel() * value.element_size() for network in networks.values() for value in network.state_dict().values()
    )
    rows = {
        "method": run.method_name,
        "layer": f"{layer}{f', {options}' if options else ''}",
        "step": f"{run.step:,}",
        "parameters": f"{sum(value.numel() for network in networks.values() for value in network.parameters()):,}",
        "multiplications a sample": " + ".join(f"{multiplications(network):,}" for network in networks.values()),
    }
    if len(networks) > 1:
        rows["multiplications a sample"] += f" ({' + '.join(networks)})"
    try:
        rows["checkpoint"] = f"{shown.checkpoint.stat().st_size:,} bytes, of them weights {weights:,}"
    except OSError:  # the training has removed it
        pass
    return rows


def networks_of(shown: Shown) -> dict[str, nn.Module]:
    """The trained networks of a run, before folding."""
    networks: dict[str, nn.Module] = {"field": shown.run.field}
    proposal = getattr(shown.run, "proposal", None)
    return networks if proposal is None else networks | {"proposal": proposal}


def multiplications(network: nn.Module) -> int:
    """Of one sample in the folded network, without its encodings."""
    parts = (getattr(fold(network), name, None) for name in ("trunk", "color_head"))
    return sum(part.multiplications() for part in parts if part is not None)  # type: ignore[operator]


def card(rows: dict[str, str], timing: Timing | None = None) -> str:
    """A card in Markdown."""
    rows = dict(rows)
    for name in ("moving", "still"):
        took = None if timing is None else getattr(timing, name)
        if took is not None:
            rows[f"a frame, {name}"] = f"{took[2]:,.0f} ms ({took[0]} x {took[1]})"
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
