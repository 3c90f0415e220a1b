#!/usr/bin/env python3
"""Shrink a posed depth stream: `python scenes/shrink_stream.py SRC DST --factor 2 --every 2`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from capture import layout
from capture.streams import DISTANCES, read_arrays, read_depth, read_stream, stream_transforms
from console import SceneError, run
from downscale import area_mean
from tqdm import tqdm
from tyro.conf import Positional, arg

TOLERANCE = 0.03
"""Depths of a block that are this much farther than its nearest, relatively, belong to another surface."""


@dataclass
class Settings:
    """Shrink a posed depth stream in nerfstudio's layout, with its ground truth.

    A pixel of a smaller depth image is the mean of those it covers that lie on the nearest surface among them: within
    3 percent of the nearest depth. So no depth is made up between a thing and what is behind it. Pixels without depth
    do not count. Colours are area means. Intrinsics are divided, which is exact; poses and times stay as they are.
    """

    source: Annotated[Positional[Path], arg(metavar="SRC")]
    """Folder of the stream to read."""
    target: Annotated[Positional[Path], arg(metavar="DST")]
    """Folder to write the smaller stream to; existing files are overwritten."""
    factor: int = 2
    """Factor by which width and height of the images shrink; it must divide both."""
    every: int = 1
    """Keep every N-th frame, beginning with the first."""
    points: int = 40_000
    """Largest number of points of the distance ground truth to keep, drawn evenly; distances stay exact."""
    triangles: int = 120_000
    """Largest number of triangles of the mesh to keep, by quadric error (Garland and Heckbert 1997)."""
    principal_point: tuple[float, float] | None = None
    """Principal point (cx, cy) of SRC in pixels, if its file is wrong; the centre of the first pixel is at 0.5 0.5."""


def shrink_depth(depth: np.ndarray, factor: int) -> np.ndarray:
    """(height, width) depths, 0 where there is none -> (height / factor, width / factor), rounded, of the same type.

    The mean over those of a block that are at most TOLERANCE behind the nearest.
    """
    height, width = depth.shape
    blocks = depth.reshape(height // factor, factor, width // factor, factor).swapaxes(1, 2).astype(np.float64)
    blocks = blocks.reshape(height // factor, width // factor, factor**2)
    nearest = np.where(blocks > 0, blocks, np.inf).min(axis=-1, keepdims=True)
    chosen = (blocks > 0) & (blocks <= nearest * (1 + TOLERANCE))
    return np.rint((blocks * chosen).sum(axis=-1) / np.maximum(chosen.sum(axis=-1), 1)).astype(depth.dtype)


def shrink_mesh(vertices: np.ndarray, triangles: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A mesh of at most `count` triangles near the given one, float32 to 0.1 mm and uint32."""
    import open3d

    mesh = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(vertices.astype(np.float64)),
        open3d.utility.Vector3iVector(triangles.astype(np.int32)),
    )
    mesh.merge_close_vertices(1e-5).remove_degenerate_triangles().remove_duplicated_triangles()
    if len(mesh.triangles) > count:
        mesh = mesh.simplify_quadric_decimation(count)
    mesh.remove_unreferenced_vertices()
    return np.asarray(mesh.vertices).round(4).astype(np.float32), np.asarray(mesh.triangles).astype(np.uint32)


def shrink_stream(settings: Settings) -> None:
    """Write the smaller stream; the transforms file comes last, when all that it names is there."""
    source, target, factor = settings.source, settings.target, settings.factor
    for name, least in (("factor", 1), ("every", 1), ("points", 0), ("triangles", 4)):
        if getattr(settings, name) < least:
            raise SceneError(f"--{name} {getattr(settings, name)}: must be {least} or more")
    if source.resolve() == target.resolve():
        raise SceneError(f"SRC and DST are both {source}; give another DST, the originals are not overwritten")
    content = read_stream(source)
    width, height = content["w"], content["h"]
    if width % factor or height % factor:
        raise SceneError(f"{source} has {width}x{height} pixels; --factor {factor} does not divide that")
    frames = content["frames"][:: settings.every]
    kept = []
    for number, frame in enumerate(tqdm(frames, unit="frame")):
        names = {"file_path": f"images/{number:04d}.jpg", "depth_file_path": f"depth/{number:04d}.png"}
        depth = read_depth(source / frame["depth_file_path"])
        image = layout.read_rgba(source / frame["file_path"])
        for path, array in ((frame["depth_file_path"], depth), (frame["file_path"], image)):
            if array.shape[:2] != (height, width):
                raise SceneError(f"{source / path} has {array.shape[1]}x{array.shape[0]} pixels, not {width}x{height}")
        layout.write_depth(target / names["depth_file_path"], shrink_depth(depth, factor))
        layout.write_rgb(target / names["file_path"], area_mean(image, factor))
        kept.append(frame | names)
    _shrink_ground_truth(settings)
    cx, cy = settings.principal_point or (content["cx"], content["cy"])
    camera = {"w": width // factor, "h": height // factor}
    camera |= {"fl_x": content["fl_x"] / factor, "fl_y": content["fl_y"] / factor, "cx": cx / factor, "cy": cy / factor}
    scale = {"depth_unit_scale_factor": content.get("depth_unit_scale_factor", 0.001)}
    layout.write_json(target / layout.NERFSTUDIO, stream_transforms(camera, kept) | scale)


def _shrink_ground_truth(settings: Settings) -> None:
    """The ground-truth files that the stream has."""
    if (settings.source / DISTANCES).exists():
        points, distance = read_arrays(settings.source / DISTANCES, "points", "distance")
        count = min(settings.points, len(points))
        chosen = np.sort(np.random.default_rng(0).choice(len(points), count, replace=False))
        layout.write_arrays(settings.target / DISTANCES, points=points[chosen], distance=distance[chosen])
    if (settings.source / layout.MESH).exists():
        vertices, triangles = read_arrays(settings.source / layout.MESH, "vertices", "triangles")
        vertices, triangles = shrink_mesh(vertices, triangles, settings.triangles)
        layout.write_arrays(settings.target / layout.MESH, vertices=vertices, triangles=triangles)


if __name__ == "__main__":
    run(lambda: shrink_stream(tyro.cli(Settings)))
