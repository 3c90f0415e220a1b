"""Meshes of one place in a picture, one row each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eugen_fields.data.depth_streams import DepthStream


def draw_meshes(meshes: dict[str, tuple[np.ndarray, np.ndarray]], stream: DepthStream, path: Path) -> None:
    """Writes a PNG with meshes seen from two frames of a stream, and from above without what lies in the top quarter.

    Args:
        meshes: vertices (V, 3), metres, z up, and faces (F, 3) by title; the first one sets the view from above.
    """
    import trimesh
    from PIL import Image, ImageDraw, ImageFont

    from eugen_fields.meshing.silhouette import render_mesh

    vertices = next(iter(meshes.values()))[0]
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    above = np.eye(4)
    above[:3, 3] = (low[0] + high[0]) / 2, (low[1] + high[1]) / 2, high[2] + 1.1 * (high - low)[:2].max()
    width, height = 320, round(320 * stream.height / stream.width)
    cameras = [(above, width, width, width / 2, height / 2)]
    for frame in (len(stream) // 2, len(stream) // 5):
        fx, fy, cx, cy = (width / stream.width * stream.intrinsics[frame]).tolist()
        cameras.insert(0, (stream.poses[frame].numpy(), fx, fy, cx, cy))
    rows = []
    for vertices, faces in meshes.values():
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        roofless = mesh.slice_plane([0, 0, low[2] + 0.75 * (high - low)[2]], [0, 0, -1])
        pictures = [
            render_mesh(one, pose, fx, fy, cx, cy, width, height, shade=True)
            for one, (pose, fx, fy, cx, cy) in zip((mesh, mesh, roofless), cameras)
        ]
        rows.append(np.concatenate(pictures, axis=1))
    sheet = Image.fromarray(np.concatenate(rows))
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(meshes):
        draw.text((6, row * height + 4), name, fill="red", font=ImageFont.load_default(size=14))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
