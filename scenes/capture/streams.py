"""Posed depth streams on disk: transforms.json beside depth images, colour images and ground truth.

- transforms.json: nerfstudio's, with depth_file_path and timestamp in each frame. OpenGL camera-to-world, metres, z up.
- depth/*.png: depth along the optical axis, 16 bits, in millimetres; 0 where there is none.
- images/*.jpg: colour, sRGB.
- distance_ground_truth.npz: points (N, 3) that the cameras have seen past or seen the surface at, and distance (N,) of
  each to the nearest surface, unsigned, metres. All lie in free space or on a surface.
- mesh_ground_truth.npz (layout.MESH): vertices (V, 3) and triangles (T, 3) of all surfaces.
"""

import json
from pathlib import Path

import numpy as np
from capture.layout import NERFSTUDIO
from console import SceneError, reporting
from PIL import Image

DISTANCES = "distance_ground_truth.npz"
MILLIMETRE = 0.001


def stream_transforms(camera: dict, frames: list[dict]) -> dict:
    """The content of the transforms file: `camera` has w, h, fl_x, fl_y, cx, cy, and frames are of `stream_frame`."""
    return {"camera_model": "PINHOLE", **camera, "depth_unit_scale_factor": MILLIMETRE, "frames": frames}


def stream_frame(number: int, timestamp: float, pose: np.ndarray) -> dict:
    """The entry of one frame; `pose` is (4, 4) camera-to-world."""
    return {
        "file_path": f"images/{number:04d}.jpg",
        "depth_file_path": f"depth/{number:04d}.png",
        "timestamp": timestamp,
        "transform_matrix": pose.tolist(),
    }


def read_stream(folder: Path) -> dict:
    """The parsed transforms file of a stream."""
    path = folder / NERFSTUDIO
    with reporting("cannot read", path):
        text = path.read_text()
    try:
        content = json.loads(text)
        keys = ("w", "h", "fl_x", "fl_y", "cx", "cy")
        sane = all(float(content[key]) > 0 for key in keys) and len(content["frames"]) > 0
        sane &= all({"file_path", "depth_file_path", "transform_matrix"} <= set(frame) for frame in content["frames"])
    except (ValueError, KeyError, TypeError) as error:
        raise SceneError(f"{path} is not the transforms file of a depth stream: {error!r}") from error
    if not sane:
        raise SceneError(f"{path} is not the transforms file of a depth stream: each frame names an image and a depth")
    return content


def read_depth(path: Path) -> np.ndarray:
    """(height, width) uint16 as in the file."""
    with reporting("cannot read", path), Image.open(path) as image:
        depth = np.asarray(image)
    if depth.ndim != 2 or depth.dtype.kind not in "ui":
        raise SceneError(f"{path} is not a depth image of whole numbers")
    return depth.astype(np.uint16)


def read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    """Arrays of an .npz file by name."""
    try:
        with reporting("cannot read", path), np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except (KeyError, ValueError) as error:
        raise SceneError(f"{path} does not hold {', '.join(names)}: {error}") from error
