"""A horizontal cut through signed distance fields, beside the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from eugen_fields.benchmark.common.figure import drawing
from eugen_fields.benchmark.distance.distance_truth import DistanceTruth
from eugen_fields.benchmark.distance.sdf_errors import SDF, evaluate
from eugen_fields.benchmark.distance.visibility import first_seen
from eugen_fields.data.depth.depth_streams import DepthStream

_LINES = 0.25
"""Metres between iso-lines."""
_BEHIND = 0.02
"""Metres behind a surface that are shown: what was seen, without the inside of furniture, whose truth has no sign."""
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
    """Writes a PNG with the distances in a horizontal plane: the true ones, then those of each field, and below them
    where the camera went and the differences to the truth.

    Iso-lines are 0.25 m apart, that of the surface is thick. The true distance is unsigned; what the stream has not
    seen is grey in the lower row.

    Args:
        fields: by title.
        height: of the plane, metres along the world's z. The bounds of the truth mesh are those of the picture.
        spacing: metres between the points of the plane.
        num_frames: frames that count as seen; None: all.
    """
    low, high = truth.vertices.min(axis=0), truth.vertices.max(axis=0)
    x, y = (np.arange(low[axis], high[axis] + 1e-4, spacing) for axis in (0, 1))
    plane = np.stack([*np.meshgrid(x, y), np.full((len(y), len(x)), height)], axis=-1)
    points = torch.from_numpy(plane.reshape(-1, 3)).float()
    slices = {"truth (unsigned)": truth.mesh.distance, **fields}
    values = {title: evaluate(sdf, points).numpy().reshape(len(y), len(x)) for title, sdf in slices.items()}
    true = values["truth (unsigned)"]
    last = len(stream) if num_frames is None else min(num_frames, len(stream))
    unseen = (first_seen(stream, points, _BEHIND) >= last).numpy().reshape(true.shape)

    size = 3.6 * len(slices) + 1.0, 2 * 3.6 * len(y) / len(x) + 1.0
    distances = {"cmap": "RdBu", "vmin": -_FARTHEST, "vmax": _FARTHEST, "rasterized": True}
    errors = {"cmap": "PuOr", "vmin": -_LARGEST_ERROR, "vmax": _LARGEST_ERROR, "rasterized": True}
    levels = [level for level in np.arange(-_FARTHEST, 3 * _FARTHEST, _LINES) if abs(level) > 1e-6]
    surface = 0.5 * spacing  # of the truth, which touches 0 but does not cross it
    upper = lower = None
    with drawing(path, 2, len(slices), dpi=120, figsize=size, sharex=True, sharey=True) as (figure, panels):
        for (title, found), (top, bottom) in zip(values.items(), panels.T):
            upper = top.pcolormesh(x, y, found, **distances)
            if np.nanmin(found) < np.nanmax(found):
                top.contour(x, y, found, levels=levels, colors="black", linewidths=0.5, alpha=0.6)
                top.contour(x, y, found, levels=[surface if found is true else 0.0], colors="black", linewidths=1.6)
            top.set_title(title, fontsize=10)
            bottom.set_facecolor("0.75")
            lower = bottom.pcolormesh(x, y, np.ma.masked_where(unseen, found - true), **errors)
            bottom.contour(x, y, true, levels=[surface], colors="black", linewidths=1.0)
            bottom.set_title("seen, and the camera's way" if found is true else f"{title}, minus truth", fontsize=10)
            bottom.set_xlabel("x (m)")
        cameras = stream.poses[:last, :3, 3].numpy()
        panels[1, 0].plot(cameras[:, 0], cameras[:, 1], color="tab:green", linewidth=1.5)
        panels[1, 0].plot(cameras[0, 0], cameras[0, 1], "o", color="tab:green", markersize=5)
        for axes in panels.flat:
            axes.set_aspect("equal")
        for axes in panels[:, 0]:
            axes.set_ylabel("y (m)")
        assert upper is not None and lower is not None
        figure.colorbar(upper, ax=panels[0], label=f"distance (m), lines every {_LINES} m", extend="both")
        figure.colorbar(lower, ax=panels[1], label="error (m)", extend="both")
        figure.suptitle(f"Signed distance at a height of {height:g} m; grey: not seen", fontsize=11)
