#!/usr/bin/env python3
"""Furnish a room and walk a depth camera through it: `python scenes/render_room.py couch desk -o DIR`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from capture import layout, streams
from capture.cameras import look_at
from capture.raycast import Caster, kinect, pixel_directions, shade
from console import SceneError, reporting, run
from shapes.catalogue import FURNITURE, choose_model, find_models
from shapes.furniture import arrange
from tqdm import tqdm
from tyro.conf import FlagCreatePairsOff, Positional, arg

FPS = 30.0
EYE = 1.45
"""Mean height of the camera, metres."""
FOCAL = 0.82
"""Focal length over image width: 63 degrees across, about that of a Kinect."""
_CC0 = ("couch", "bookcase", "desk", "armchair2", "plant", "drawersCabinet", "cupboard")
DEFAULT = tuple(f"BlendSwap-CC-0/{name}" for name in _CC0)
"""Furniture of a living room."""


@dataclass
class Settings:
    """Furnish a box room with models of Sweet Home 3D in their real sizes and record a posed depth stream in it.

    It becomes nerfstudio's transforms.json with depth_file_path and timestamp in its frames, depth/*.png (millimetres),
    images/*.jpg (lit from the camera), and ground truth: distance_ground_truth.npz (points that were seen past or on a
    surface, exact unsigned distances) and mesh_ground_truth.npz. Metres, z up, 30 frames per second.

    The camera goes round the middle of the room twice on a smooth path that ends where it began, looking outward at
    first and across the room half-way.
    """

    models: Annotated[Positional[tuple[str, ...]], arg(metavar="MODEL")] = DEFAULT
    """Names of models, as render.py --list prints them; each is placed along a wall."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="DIR")] = None
    """Folder to write the stream to."""
    width: float = 6.0
    """Width of the room, metres."""
    depth: float = 5.0
    """Depth of the room, metres."""
    height: float = 2.6
    """Height of the room, metres."""
    frames: int = 300
    """Number of frames."""
    size: int = 320
    """Width of the images, pixels, a multiple of 4; the height is three quarters of the width."""
    points: int = 100_000
    """Number of points of the distance ground truth: one third on surfaces, the rest in free space."""
    noiseless: bool = False
    """Leave out the noise of the depth camera."""
    seed: int = 0
    """Seed of the places of the furniture, the noise and the points."""
    catalogues: Annotated[Path, arg(metavar="DIR")] = FURNITURE
    """Folder of .sh3f furniture catalogues, as the Debian package sweethome3d-furniture installs it."""


def walk(count: int, width: float, depth: float) -> np.ndarray:
    """(count, 4, 4) camera-to-world poses on a smooth closed path twice round the middle of the room, OpenGL axes."""
    phase = np.arange(count) / count
    angle = 4 * np.pi * phase
    position = np.stack(
        [0.22 * width * np.cos(angle), 0.22 * depth * np.sin(angle), EYE + 0.12 * np.sin(3 * angle)], axis=-1
    )
    heading = angle + np.pi * (1 - np.cos(2 * np.pi * phase)) / 2
    pitch = np.radians(-18 + 12 * np.sin(1.5 * angle))
    ahead = np.stack([np.cos(heading) * np.cos(pitch), np.sin(heading) * np.cos(pitch), np.sin(pitch)], axis=-1)
    return np.array([look_at(eye, eye + gaze) for eye, gaze in zip(position, ahead)])


def camera(size: int) -> dict:
    """Intrinsics as in transforms.json; the middle of the first pixel is at (0.5, 0.5)."""
    height = size * 3 // 4
    return {"w": size, "h": height, "fl_x": FOCAL * size, "fl_y": FOCAL * size, "cx": size / 2, "cy": height / 2}


def seen_points(
    pose: np.ndarray, directions: np.ndarray, depth: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """(count, 3) world points on rays of random pixels: one third on the surface, the rest evenly before it."""
    pixels = np.argwhere(np.isfinite(depth))
    rows, columns = pixels[generator.integers(len(pixels), size=count)].T
    share = np.where(np.arange(count) % 3 == 0, 1.0, generator.uniform(size=count))
    return pose[:3, 3] + directions[rows, columns] @ pose[:3, :3].T * (share * depth[rows, columns])[:, None]


def check_numbers(settings: Settings) -> None:
    """Refuse settings that no room could be made of."""
    least = {"width": 2, "depth": 2, "height": EYE + 0.5, "frames": 1, "size": 4, "points": 0, "seed": 0}
    for name, bound in least.items():
        if not getattr(settings, name) >= bound:
            raise SceneError(f"--{name} {getattr(settings, name)}: must be {bound} or more")
    if settings.size % 4:
        raise SceneError(f"--size {settings.size}: the height is 3/4 of it; give a multiple of 4")


def render_room(settings: Settings, output: Path) -> None:
    """Write the stream; the transforms file comes last, when all that it names is there."""
    known = find_models(settings.catalogues)
    models = [choose_model(known, name) for name in settings.models]
    with reporting("cannot use --output", output):
        output.mkdir(parents=True, exist_ok=True)
        if any(output.iterdir()):
            raise SceneError(f"{output} is not empty; give another --output")
    places, noise, drawn = (np.random.default_rng([settings.seed, number]) for number in range(3))
    poses = walk(settings.frames, settings.width, settings.depth)
    mesh = arrange(models, (settings.width, settings.depth, settings.height), poses[:, :3, 3], places)
    mesh.vertices = mesh.vertices.round(4).astype(np.float32)  # what is measured is what is written
    caster, intrinsics = Caster(mesh), camera(settings.size)
    directions = pixel_directions(intrinsics)
    frames, points = [], []
    shares = np.diff(np.linspace(0, settings.points, settings.frames + 1).astype(int))
    for number, pose in enumerate(tqdm(poses, unit="frame")):
        depth, cosine, color = caster.cast(pose, directions)
        points.append(seen_points(pose, directions, depth, int(shares[number]), drawn))
        returned = np.where(np.isfinite(depth), depth, 0) if settings.noiseless else kinect(depth, cosine, noise)
        frames.append(streams.stream_frame(number, number / FPS, pose))
        millimetres = np.rint(returned / streams.MILLIMETRE).clip(0, 65_534).astype(np.uint16)
        layout.write_depth(output / frames[-1]["depth_file_path"], millimetres)
        layout.write_rgb(output / frames[-1]["file_path"], shade(cosine, color))
    everywhere = np.concatenate(points).astype(np.float32)
    layout.write_arrays(output / streams.DISTANCES, points=everywhere, distance=caster.distance(everywhere))
    layout.write_arrays(output / layout.MESH, vertices=mesh.vertices, triangles=mesh.triangles.astype(np.uint32))
    note = {key: value for key, value in asdict(settings).items() if key not in ("models", "output", "catalogues")}
    note["models"] = [
        {"model": model.qualified_name, "creator": model.creator, "license": model.license} for model in models
    ]
    layout.write_json(output / "room.json", note)
    layout.write_json(output / layout.NERFSTUDIO, streams.stream_transforms(intrinsics, frames))
    print(f"{output}: {len(frames)} frames; train on it with `--data {output}` and `depth-stream` at the end")


def main(settings: Settings) -> None:
    check_numbers(settings)
    if settings.output is None:
        raise SceneError("give the folder to write with --output DIR")
    render_room(settings, settings.output)


if __name__ == "__main__":
    run(lambda: main(tyro.cli(Settings, config=(FlagCreatePairsOff,))))
