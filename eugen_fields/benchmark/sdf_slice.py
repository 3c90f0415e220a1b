"""A horizontal cut through signed distance fields, beside the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from eugen_fields.benchmark.distance_truth import DistanceTruth
from eugen_fields.benchmark.sdf_errors import SDF, evaluate
from eugen_fields.benchmark.visibility import first_seen
from eugen_fields.data.depth_streams import DepthStream

_LINES = 0.25
"""Metres between iso-lines."""
_FARTHEST = 1.25
_LARGEST_ERROR = 0.25


def draw_slices(
    fields: dict[str, SDF],
    truth: DistanceTruth,
    stream: DepthStream,
    path: Path,
    *,
    height: float,
    spacing: float = 0.02,
    num_frames: int | None = None,
) -> None:
    """Writes a PNG with one row per field: its distances in a horizontal plane, the true ones, and the difference.

    Iso-lines are 0.25 m apart, the surface (0) is thick. The true distance is unsigned; the difference is shown only
    where the stream has looked, grey elsewhere.

    Args:
        fields: by title.
        height: of the plane, metres along the world's z, within the bounds of the truth mesh, which bound the picture.
        spacing: metres between the points of the plane.
        num_frames: frames that count as seen; None: all.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    low, high = truth.vertices.min(axis=0), truth.vertices.max(axis=0)
    x, y = (np.arange(low[axis], high[axis] + 1e-4, spacing) for axis in (0, 1))
    plane = torch.from_numpy(np.stack([*np.meshgrid(x, y), np.full((len(y), len(x)), height)], axis=-1)).float()
    points = plane.reshape(-1, 3)
    true = truth.mesh.distance(points).numpy().reshape(len(y), len(x))
    seen = first_seen(stream, points) < min(len(stream), len(stream) if num_frames is None else num_frames)
    unseen = ~seen.numpy().reshape(true.shape)

    shape = len(fields), 3
    size = 4.1 * 3 + 0.9, (4.1 * len(y) / len(x) + 0.35) * len(fields) + 0.5
    figure, panels = plt.subplots(*shape, figsize=size, squeeze=False, sharex=True, sharey=True, layout="constrained")
    levels = np.arange(-_FARTHEST, 2 * _FARTHEST, _LINES)
    distance_image = error_image = None
    for row, (title, sdf) in zip(panels, fields.items()):
        found = evaluate(sdf, points).numpy().reshape(true.shape)
        for axes, values in zip(row, (found, true)):
            distance_image = axes.pcolormesh(x, y, values, cmap="RdBu", vmin=-_FARTHEST, vmax=_FARTHEST)
            if np.nanmin(values) < np.nanmax(values):
                others = levels[np.abs(levels) > 1e-6]
                axes.contour(x, y, values, levels=others, colors="black", linewidths=0.5, alpha=0.6)
                # the unsigned truth touches 0 but does not cross it
                zero = 0.0 if values is found else 0.5 * spacing
                axes.contour(x, y, values, levels=[zero], colors="black", linewidths=1.6)
        error = np.ma.masked_where(unseen, found - true)
        row[2].set_facecolor("0.75")
        error_image = row[2].pcolormesh(x, y, error, cmap="PuOr", vmin=-_LARGEST_ERROR, vmax=_LARGEST_ERROR)
        row[2].contour(x, y, true, levels=[0.5 * spacing], colors="black", linewidths=1.0)
        row[0].set_ylabel("y (m)")
        for axes, name in zip(row, (title, "truth (unsigned)", f"{title} - truth, where seen")):
            axes.set_title(name, fontsize=10)
            axes.set_aspect("equal")
    for axes in panels[-1]:
        axes.set_xlabel("x (m)")
    if distance_image is not None and error_image is not None:
        figure.colorbar(
            distance_image, ax=panels[:, :2], label=f"distance (m), lines every {_LINES} m", location="bottom",
            aspect=50, shrink=0.7,
        )  # fmt: skip
        figure.colorbar(
            error_image, ax=panels[:, 2], label="error (m)", location="bottom", aspect=25, shrink=0.9, extend="both"
        )
    figure.suptitle(f"Signed distance at a height of {height:g} m", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
