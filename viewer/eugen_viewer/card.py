"""A card that says in a few rows what a run is: its network, its size, and the times of its frames."""

from __future__ import annotations

import re

from torch import nn

from eugen_fields.models.summary import network_summary
from eugen_fields.storing import StoredField
from eugen_fields.storing.opening import stored_of
from eugen_viewer.live import Timing
from eugen_viewer.opened import Shown


def summary(shown: Shown) -> dict[str, str]:
    """Rows of the card that belong to the checkpoint."""
    run = shown.run
    rows = {"Method": run.method_name, "Training step": f"{run.step:,}"}
    stored = stored_of(run)
    if stored is not None:
        return rows | _stored_summary(stored)
    rows |= network_summary(run.model_config, networks_of(shown))
    try:
        rows["Checkpoint file"] = f"{shown.checkpoint.stat().st_size:,} bytes"
    except OSError:  # the training has removed it
        pass
    return rows


def _stored_summary(stored: StoredField) -> dict[str, str]:
    """Rows of a field file."""
    facts = stored.facts
    measured = facts["measured"]
    rows = {
        "Layers": facts["layer"],
        "Multiplications per sample": f"{facts['multiplications']:,}",
        "Field file": f"{facts['bytes']:,} bytes",
    }
    if "psnr_before" in measured and "psnr_after" in measured:
        rows["PSNR of run and file"] = f"{measured['psnr_before']:.2f} and {measured['psnr_after']:.2f} dB"
    if "distance_change" in measured:
        rows["Change of distances"] = f"{100 * measured['distance_change']:.2g} cm"
    return rows


def networks_of(shown: Shown) -> dict[str, nn.Module]:
    """The trained networks of a run, before folding."""
    networks: dict[str, nn.Module] = {"field": shown.run.field}
    proposal = getattr(shown.run, "proposal", None)
    return networks if proposal is None else networks | {"proposal": proposal}


def card(rows: dict[str, str], timing: Timing | None = None) -> str:
    """The rows as a table in Markdown, with the times of the last frames if they are given."""
    rows = dict(rows)
    for name, label in (("moving", "Frame while moving"), ("still", "Frame at rest")):
        frame = None if timing is None else getattr(timing, name)
        if frame is not None:
            width, height, milliseconds = frame
            rows[label] = f"{_duration(milliseconds)} for {width} x {height} pixels"
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {as_text(value)} |" for name, value in rows.items())])


def as_text(value: str) -> str:
    """A text in Markdown that shows it letter by letter. Those of field files are a stranger's, and viser's Markdown
    is MDX, in which braces hold programs."""
    return re.sub(r"[^A-Za-z0-9 ,.()%/-]", lambda character: f"&#{ord(character[0])};", value)


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:,.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:,.1f} s"
