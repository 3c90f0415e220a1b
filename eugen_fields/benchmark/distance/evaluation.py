"""What runs on one depth stream are measured by: the truth, what the frames saw, and TSDF fusion beside them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from eugen_fields.benchmark.distance.distance_truth import DistanceTruth
from eugen_fields.benchmark.distance.sdf_errors import sdf_errors, visible_error_cm
from eugen_fields.benchmark.distance.sdf_report import draw_errors
from eugen_fields.benchmark.distance.slice_picture import draw_slices
from eugen_fields.benchmark.distance.tsdf import TSDF
from eugen_fields.benchmark.distance.visibility import first_seen, nearest_first_seen
from eugen_fields.benchmark.mesh.mesh_errors import mesh_errors
from eugen_fields.benchmark.mesh.mesh_picture import draw_meshes
from eugen_fields.data.depth.depth_reading import read_depth_stream
from eugen_fields.fields.sdf import SDFField
from eugen_fields.meshing.extraction.distance import distance_mesh


class Evaluation:
    """Measures fields on one recording.

    Args:
        data: folder of the recording and its truth.
        checks: measurements along the stream.
        mesh_resolution: cells of the meshes along the longest side of what was seen.

    Raises:
        InputError: a file is missing or damaged.
    """

    def __init__(self, data: Path, checks: int, mesh_resolution: int) -> None:
        self.truth, self.stream = DistanceTruth.load(data), read_depth_stream(data)
        self.mesh_resolution = mesh_resolution
        self.seen = first_seen(self.stream, self.truth.points)
        self.nearest = nearest_first_seen(self.stream, self.truth)
        self.every = max(1, math.ceil(len(self.stream) / checks))
        self.learnt: SDFField | None = None
        """Folded field of the last map that was measured."""
        self._fusion: TSDF | None = None
        self._meshes: dict[str, Any] = {}

    def due(self, frame: int, so_far: list[dict[str, Any]]) -> bool:
        """Whether another part of the stream is over with a frame; some may have been skipped since the last one."""
        over = max((entry["frame"] + 1 for entry in so_far), default=0) // self.every
        return frame == len(self.stream) - 1 or (frame + 1) // self.every > over

    def at_frame(self, sdf: Any, frame: int) -> dict[str, Any]:
        """Errors where the frames up to one have looked, and where they saw the nearest surface too."""
        seen = self.seen <= frame
        known = torch.maximum(self.seen, self.nearest) <= frame
        visible, near = (visible_error_cm(sdf, self.truth.part(part)) for part in (seen, known))
        return {"frame": frame, "visible_cm": visible, "known_cm": near}

    def errors(self, field: SDFField) -> dict[str, Any]:
        """Errors of distances and gradients at all points of the truth, as sdf_errors has them."""
        device, folded = field.aabb.device, field.folded()
        return sdf_errors(
            lambda points: folded.evaluate(points.to(device)),
            self.truth,
            lambda points: field.sdf_and_gradient(points.to(device)),
            known=self.nearest < len(self.stream),
        )

    def eikonal_residual(self, field: SDFField) -> float:
        """Mean | |grad f| - 1 | at the true points 10 cm and more from surfaces."""
        points = self.truth.points[self.truth.distances >= 0.1].to(field.aabb)
        lengths = [field.sdf_and_gradient(chunk)[1].detach().norm(dim=-1) for chunk in points.split(1 << 14)]
        return float((torch.cat(lengths) - 1.0).abs().mean())

    def mesh_errors(self, model: Any) -> dict[str, Any]:
        """Errors of the mesh of a map, as mesh_errors has them."""
        vertices, faces = distance_mesh(model.field.folded(), self.mesh_resolution, seen=model.seen, progress=False)
        self._meshes[model.config.layer] = vertices, faces
        return mesh_errors(vertices, faces, self.truth, self.stream)

    def fuse(self, voxel_size: float) -> dict[str, Any]:
        """TSDF fusion of the same frames, measured in the same way; `seconds` has one distance transform in it."""
        print(f"TSDF fusion, voxels of {100 * voxel_size:g} cm", flush=True)
        fusion, over_time = TSDF(voxel_size), []
        for frame in tqdm(self.stream, desc="Fusing", unit="frame"):
            fusion.integrate(frame)
            if self.due(frame.index, over_time):
                over_time.append(self.at_frame(fusion.sdf, frame.index))
        known = self.nearest < len(self.stream)
        transform_seconds = fusion.distance_seconds / max(1, len(over_time))
        errors = sdf_errors(fusion.sdf, self.truth, fusion.sdf_and_gradient, known=known)
        exact = fusion.exact()
        facts = {
            "visible_error_cm": errors["visible_cm"],
            "known_error_cm": errors["known_cm"],
            "surface_error_cm": errors["surface_cm"],
            "seconds": fusion.integrate_seconds + transform_seconds,
            "errors": errors,
            "exact_errors": sdf_errors(exact.sdf, self.truth, exact.sdf_and_gradient, known=known),
            "mesh": mesh_errors(*fusion.mesh(), self.truth, self.stream),
            "over_time": over_time,
        }
        self._meshes["TSDF"] = fusion.mesh()
        self._fusion = fusion
        return facts

    def draw(self, runs: list[dict[str, Any]], json: Path) -> list[Path]:
        """Plots beside the JSON file; slices and meshes of what this call has run."""
        paths = [json.with_name(f"{json.stem}_errors.png")]
        draw_errors(runs, paths[0])
        if self.learnt is not None:
            paths.append(json.with_name(f"{json.stem}_slice.png"))
            self.draw_slice(paths[-1])
        if self._meshes:
            paths.append(json.with_name(f"{json.stem}_mesh.png"))
            draw_meshes({"truth": (self.truth.vertices, self.truth.triangles)} | self._meshes, self.stream, paths[-1])
        return paths

    def draw_slice(self, path: Path) -> None:
        """A slice at two fifths of the height: the truth, the last map, and the fusion where there is one."""
        field = self.learnt
        assert field is not None
        fields: dict[str, Any] = {"learnt": lambda points: field.evaluate(points.to(field.aabb))}
        if self._fusion is not None:
            fields["TSDF"] = self._fusion.sdf
        low, high = self.truth.vertices[:, 2].min(), self.truth.vertices[:, 2].max()
        draw_slices(fields, self.truth, self.stream, path, height=float(low + 0.4 * (high - low)))
