"""Meshes in a picture: of one place, seen by the frames of a stream; or of objects, from all around."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eugen_fields.data.depth.depth_streams import DepthStream
from eugen_fields.writing import written_beside

if TYPE_CHECKING:
    import trimesh

_TURNS = 5
_PIXELS = 240
_MARGIN = 20
_FINER = 3
"""Rays along the side of a pixel."""
_FOCAL = 2.2
"""Of the turntable's camera, in widths of the picture."""
_ELEVATION = np.radians(30.0)


def draw_meshes(meshes: dict[str, tuple[np.ndarray, np.ndarray]], stream: DepthStream, path: Path) -> None:
    """Writes a PNG with meshes seen from two frames of a stream, and from above without what lies in the top quarter.

    Args:
        meshes: vertices (V, 3), metres, z up, and faces (F, 3) by title; the first one sets the view from above.
    """
    import trimesh

    from eugen_fields.meshing.finishing.silhouette import render_mesh

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
    _save_rows(rows, list(meshes), path)


def draw_turntables(meshes: dict[str, trimesh.Trimesh], path: Path) -> None:
    """Writes a PNG with meshes from all around, z up: a row for the vertex colours, if there are any, and one for the
    shape.

    Args:
        meshes: by title.
    """
    from eugen_fields.meshing.finishing.silhouette import render_mesh

    rows, titles, size = [], [], _FINER * _PIXELS
    for title, mesh in meshes.items():
        low, high = mesh.bounds
        center, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
        colored = mesh.visual is not None and mesh.visual.kind == "vertex"
        for shade in (False, True) if colored else (True,):
            pictures = []
            for turn in np.linspace(0.0, 2.0 * np.pi, _TURNS, endpoint=False):
                camera = _orbit(center, 2.05 * _FOCAL * radius, turn), _FOCAL * size, _FOCAL * size, size / 2, size / 2
                fine = render_mesh(mesh, *camera, size, size, shade=shade)
                blocks = fine.reshape(_PIXELS, _FINER, _PIXELS, _FINER, 3).mean(axis=(1, 3))
                pictures.append(blocks.round().astype(np.uint8))
            rows.append(np.concatenate(pictures, axis=1))
            titles.append(title if shade is not colored else "")
    used = np.flatnonzero(np.min([row.min(axis=(1, 2)) for row in rows], axis=0) < 255)
    top, bottom = max(0, used.min() - _MARGIN), used.max() + _MARGIN
    _save_rows([row[top:bottom] for row in rows], titles, path)


def _orbit(center: np.ndarray, distance: float, turn: float) -> np.ndarray:
    """The pose (4, 4) of a camera this far away that looks down at a point, this far around the vertical (radians)."""
    level = np.cos(_ELEVATION)
    back = np.array([level * np.cos(turn), level * np.sin(turn), np.sin(_ELEVATION)])
    right = np.array([-np.sin(turn), np.cos(turn), 0.0])
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, center + distance * back], axis=1)
    return pose


def _save_rows(rows: list[np.ndarray], titles: list[str], path: Path) -> None:
    """Writes rows of pictures, equally high, below each other with their titles."""
    from PIL import Image, ImageDraw, ImageFont

    sheet = Image.fromarray(np.concatenate(rows))
    draw = ImageDraw.Draw(sheet)
    for row, title in enumerate(titles):
        draw.text((6, row * len(rows[0]) + 4), title, fill="red", font=ImageFont.load_default(size=14))
    with written_beside(path) as unfinished:
        sheet.save(unfinished)
