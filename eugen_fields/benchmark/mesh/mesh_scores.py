"""How good the mesh of a scene is: its silhouettes against those of the photos, and distances to the true shape."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh

from eugen_fields.benchmark.distance.distance_truth import MESH, TriangleDistance
from eugen_fields.benchmark.mesh.mesh_errors import sample_mesh
from eugen_fields.errors import InputError
from eugen_fields.meshing.finishing.silhouette import cast_rays, iou, silhouette

_HIDDEN = 0.004
"""How far behind what a camera sees a point may lie and still be seen, in largest edges of the true mesh's box."""


def silhouette_overlaps(mesh: trimesh.Trimesh, views: Iterable[tuple[Any, dict[str, Any]]]) -> list[float]:
    """The overlap (IoU) of the mesh's silhouette with the alpha above one half, for each view.

    Args:
        mesh: in the frame of the cameras.
        views: pairs of a nerfstudio camera and a batch with its image, as a data manager's
            fixed_indices_eval_dataloader gives them.

    Returns:
        nothing where an image has no alpha.
    """
    overlaps = []
    for camera, batch in views:
        if batch["image"].shape[-1] != 4:
            return []
        fx, fy, cx, cy = (float(value) for value in (camera.fx, camera.fy, camera.cx, camera.cy))
        pose = camera.camera_to_worlds[0].cpu().numpy()
        seen = silhouette(mesh, pose, fx, fy, cx, cy, int(camera.width), int(camera.height))
        overlaps.append(iou(seen, batch["image"][..., 3].cpu().numpy() > 0.5))
    return overlaps


def shape_errors(
    mesh: trimesh.Trimesh, truth: trimesh.Trimesh, cameras: np.ndarray, *, num_samples: int, seed: int
) -> dict[str, float]:
    """Distances between a mesh and the true shape, where one of the cameras sees it.

    Models hold much that nobody can see: the inside of a bun, the underside of a sausage. Points drawn evenly over the
    true surface are therefore kept only where a straight line leads to a camera, and so are those of the mesh (past
    its own surface), which leaves out what is enclosed in it.

    Args:
        mesh, truth: in one frame.
        cameras: where cameras stand, (C, 3), in that frame.
        num_samples: points drawn from each surface.

    Returns:
        accuracy: mean distance of seen points of the mesh to the truth; completion: mean distance of seen points of the
        truth to the mesh; chamfer: the mean of the two; seen_share: of the truth's area. In units of the scene.
    """
    tolerance = _HIDDEN * float(truth.extents.max())
    samples, true_samples = (
        sample_mesh(np.asarray(one.vertices), np.asarray(one.faces), num_samples, seed) for one in (mesh, truth)
    )
    seen = visible(mesh, samples.numpy(), cameras, tolerance)
    true_seen = visible(truth, true_samples.numpy(), cameras, tolerance)
    to_truth = TriangleDistance(truth.vertices, truth.faces).distance(samples[seen])
    to_mesh = TriangleDistance(mesh.vertices, mesh.faces).distance(true_samples[true_seen])
    accuracy, completion = float(to_truth.double().mean()), float(to_mesh.double().mean())
    chamfer, share = (accuracy + completion) / 2, float(true_seen.double().mean())
    return {"accuracy": accuracy, "completion": completion, "chamfer": chamfer, "seen_share": share}


def visible(mesh: trimesh.Trimesh, points: np.ndarray, cameras: np.ndarray, tolerance: float) -> torch.Tensor:
    """Which points (N, 3) the mesh does not hide from every camera (C, 3), bool (N,)."""
    seen = np.zeros(len(points), dtype=bool)
    for camera in cameras:
        left = np.flatnonzero(~seen)
        offsets = points[left] - camera
        reach = np.linalg.norm(offsets, axis=1)
        directions = offsets / reach[:, None]
        origins = np.broadcast_to(camera, directions.shape)
        triangles, weights = cast_rays(mesh, origins, directions)
        met = np.einsum("ij,ijk->ik", weights, mesh.vertices[mesh.faces[triangles]])
        depth = np.where(triangles >= 0, np.linalg.norm(met - camera, axis=1), np.inf)
        seen[left] = depth > reach - tolerance
    return torch.from_numpy(seen)


def read_mesh(path: Path) -> trimesh.Trimesh:
    """A mesh from mesh_ground_truth.npz (vertices, triangles) or any format of trimesh.

    Raises:
        InputError: naming the file.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                mesh = trimesh.Trimesh(arrays["vertices"], arrays["triangles"].astype(np.int64), process=False)
        else:
            mesh = trimesh.load(path, force="mesh", process=False)
    except Exception as error:  # readers of many formats raise whatever they like
        message = f"cannot read {path} as a mesh ({type(error).__name__}: {error}); give {MESH}, or a PLY, OBJ or GLB"
        raise InputError(f"{message} file.") from None
    if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
        raise InputError(f"{path} holds no triangles; give {MESH}, or a PLY, OBJ or GLB file.")
    return mesh
