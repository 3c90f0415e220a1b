"""Training curves, read from the event files that a run writes for TensorBoard."""

from __future__ import annotations

import base64
import io
from pathlib import Path

CHOSEN = {
    "Train Metrics Dict/psnr": "PSNR, training rays (dB)",
    "Eval Images Metrics/psnr": "PSNR, test views (dB)",
    "Eval Images Metrics/depth_error_cm": "Depth error, evaluation frames (cm)",
    "Train Loss": "Training loss",
}
"""Scalars that are drawn where a run has them, by their TensorBoard names, with the titles of their plots."""
Curves = dict[str, tuple[list[int], list[float]]]


def read_curves(folder: Path) -> Curves:
    """Steps and values of the chosen scalars in a run's folder, by their TensorBoard names. Where a run was resumed,
    the points of all its event files are joined, ordered by step."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    points: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        events = EventAccumulator(str(path), size_guidance={SCALARS: 2000}).Reload()
        for name in set(events.Tags()["scalars"]) & set(CHOSEN):
            points.setdefault(name, {}).update({event.step: event.value for event in events.Scalars(name)})
    return {name: (sorted(values), [values[step] for step in sorted(values)]) for name, values in points.items()}


def draw_curves(runs: dict[str, Curves]) -> str:
    """The curves of runs, by name, as a picture in Markdown; an empty text where there are none."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name in CHOSEN if any(name in curves for curves in runs.values())]
    if not names:
        return ""
    figure = Figure(figsize=(4.0, 1.7 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names):
        for run, curves in runs.items():
            if name in curves:
                axes.plot(*curves[name], linewidth=1.2, label=run, marker="." if len(curves[name][0]) < 8 else None)
        axes.set_title(CHOSEN[name], fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        if name == "Train Loss":
            axes.set_yscale("log")
    if len(runs) > 1:
        figure.axes[0].legend(fontsize=8)
    figure.axes[-1].set_xlabel("training step", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return f"![curves](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
