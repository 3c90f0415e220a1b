"""What a run is, in a few rows: layer kind, parameters, multiplications, bytes, times."""

from __future__ import annotations

from torch import nn

from eugen_fields.models.summary import network_summary
from eugen_viewer.live import Timing
from eugen_viewer.opened import Shown


def facts(shown: Shown) -> dict[str, str]:
    """Rows of the card that belong to the checkpoint."""
    run = shown.run
    rows = {"method": run.method_name, "step": f"{run.step:,}"} | network_summary(run.model_config, networks_of(shown))
    try:
        rows["checkpoint"] = f"{shown.checkpoint.stat().st_size:,} bytes"
    except OSError:  # the training has removed it
        pass
    return rows


def networks_of(shown: Shown) -> dict[str, nn.Module]:
    """The trained networks of a run, before folding."""
    networks: dict[str, nn.Module] = {"field": shown.run.field}
    proposal = getattr(shown.run, "proposal", None)
    return networks if proposal is None else networks | {"proposal": proposal}


def card(rows: dict[str, str], timing: Timing | None = None) -> str:
    """A card in Markdown."""
    rows = dict(rows)
    for name in ("moving", "still"):
        took = None if timing is None else getattr(timing, name)
        if took is not None:
            rows[f"a frame, {name}"] = f"{took[2]:,.0f} ms ({took[0]} x {took[1]})"
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
