"""What was exported and what it is like, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from eugen_fields.meshing.build import Surface
from eugen_fields.meshing.finishing.topology import is_watertight, pieces
from eugen_fields.meshing.options import MeshOptions
from eugen_fields.meshing.region import is_unbounded
from eugen_fields.runs import Run, SDFRun


def surface_facts(vertices: np.ndarray, faces: np.ndarray) -> dict[str, Any]:
    """watertight (each edge joins two triangles that face the same way), components, area, volume (None unless
    watertight; of a hollow that is seen from within, what it holds) and extent (edges of the bounding box).

    Args:
        vertices: (V, 3).
        faces: (F, 3), F > 0.
    """
    corners = vertices[faces] - vertices.mean(axis=0)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    watertight = is_watertight(faces)
    return {
        "watertight": watertight,
        "components": len(np.unique(pieces(len(vertices), faces)[faces[:, 0]])),
        "area": float(np.linalg.norm(across, axis=1).sum() / 2),
        "volume": abs(float((corners[:, 0] * across).sum() / 6)) if watertight else None,
        "extent": tuple(float(side) for side in vertices.max(axis=0) - vertices.min(axis=0)),
    }


def run_facts(run: Run, options: MeshOptions, surface: Surface) -> dict[str, Any]:
    """What was exported: step, method, frame, units, resolution, level, box, where and what was dropped."""
    where, box, common = "the scene box", options.box, surface.region.common
    if options.box is not None:
        where = "--box"
    elif common is not None:
        box = tuple(common.flatten().tolist())
        corners = " ".join(f"{value:.4g}" for value in box)
        where = f"what most cameras see, as by --box {corners} (the scene goes on around it)"
    elif is_unbounded(run):
        where = "the scene box, between the cameras (the scene goes on around it: --box)"
    units = "units of the training frame"
    if isinstance(run, SDFRun):
        units = "metres"
    elif options.frame == "world":
        units = "units of the data set's poses"
    return {
        "step": run.step,
        "method": run.method_name,
        "frame": options.frame,
        "units": units,
        "resolution": options.resolution,
        "level": surface.level,
        "box": box,
        "where": where,
        "dropped_pieces": surface.dropped[0],
        "dropped_faces": surface.dropped[1],
    }
