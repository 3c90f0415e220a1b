"""What stands in the report of results, in order: chapters of questions, each answered by one JSON file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eugen_fields.benchmark.report import distance_tables, quality_tables, speed_tables

Document = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """One question.

    The JSON file holds, besides its measurements, an entry "report": the title, the paragraphs "about" before the table
    and "notes" behind it, "figures" (file, title, caption), and "names" of what its rows call by their flags.
    """

    file: str
    table: Callable[[Document], str]
    after: Callable[[Document], str] | None = None
    """A second table, behind the notes."""
    uses: str | None = None
    """A second JSON file that the table needs; its document is handed over under its name."""
    optional: bool = False
    """Left out of the report where there is no JSON file."""


INTRODUCTION = """# Measured results

Every table below is made from the JSON file that is named under it, by `eugen-bench report`; figures that stand in a
text were read off the same files. Measured on two virtual cores of a Sapphire Rapids Xeon (hyperthreads of one core),
in float32. What is compared for speed is timed in turn, in an order drawn anew every round: ratios hold on a noisy
machine where times do not. Losses are shown like gains.

To measure anew: `scripts/benchmark.sh` runs the quick form of the benchmarks (half an hour on two cores) and writes one
report; `scripts/benchmark.sh --gpu` measures a CUDA device in stages, the correctness of the kernels first, in at most
ten minutes. `eugen-bench --help` lists the single ones; a call that was broken off goes on where it stopped. With
`--engine ray`, train, scenes, frontier, rivals and isdf spread their runs over the processors or GPUs of a
Ray cluster (`pip install ray`)."""

LAST = """## Changes of figures

What changed a figure after it was measured; a table that was measured anew is not listed.

- Renders of the NeRF methods: samples at the borders of blocks were counted twice. Mending that changed PSNR by 0.02 to
  0.04 dB; all tables of NeRF methods above were measured before it.
- The sampler of pixels was replaced: for images of one size it draws other pixels from the same distribution. The table
  of learning rates was measured before it.
- The norm column of EUGen layers was rescaled. The learning rates of EUGen layers were tuned before it.
- Fine-tuning in `eugen-transfer` trains the whole network by the optimiser of the run's method, Muon for most, in place
  of the new layers alone by Adam. The table of transfers was measured before it."""

CHAPTERS: dict[str, list[Section]] = {
    "Quality of renders and meshes": [
        Section("hotdog_cpu.json", quality_tables.defaults),
        Section("rivals.json", quality_tables.race, optional=True),
        Section("tuning_cpu.json", quality_tables.tuning),
        Section("collapse_cpu.json", quality_tables.collapse),
        Section("train_cpu.json", quality_tables.equal_budgets),
        Section("multiscale_cpu.json", quality_tables.scales),
        Section("garden_cpu.json", quality_tables.capture, after=quality_tables.capture_rates),
        Section("lens_cpu.json", quality_tables.lens),
        Section("scenes.json", quality_tables.scenes, optional=True),
        Section("frontier.json", quality_tables.frontier, optional=True),
        Section("mesh_cpu.json", distance_tables.meshes),
    ],
    "Replacing layers that are trained": [
        Section("shrink.json", quality_tables.rivals, optional=True),
        Section("transfer_cpu.json", quality_tables.transfers),
        Section("synthetic_cpu.json", quality_tables.copies),
        Section("transformer_counts.json", quality_tables.transformer),
    ],
    "Speed": [
        Section("layers_cpu.json", speed_tables.networks),
        Section("render_cpu.json", speed_tables.frames),
        Section("kernels_cpu.json", speed_tables.agreement, after=speed_tables.matrices),
    ],
    "Bytes": [
        Section("size_cpu.json", quality_tables.files),
        Section("size_seeds_cpu.json", quality_tables.file_seeds, uses="size_cpu.json"),
    ],
    "Signed distance from a depth camera": [
        Section("isdf_cpu.json", distance_tables.distances),
        Section("isdf_speed_cpu.json", distance_tables.mapping_speed),
    ],
    "Viewer": [Section("view_soak_cpu.json", speed_tables.viewer)],
}
