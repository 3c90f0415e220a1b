"""Two layouts on disk: the Blender-synthetic one, `transforms_{train,val,test}.json` beside folders of RGBA PNGs, and
nerfstudio's, one `transforms.json` with the intrinsics of its cameras beside folders of PNGs or JPEGs.

Every file is written beside its final name and then renamed, so a file that exists is whole.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from capture.distortion import Camera, Lens
from console import SceneError, reporting
from PIL import Image

SPLITS = ("train", "val", "test")
CAMERA_ANGLE_X = 0.6911112070083618
"""Horizontal field of view, radians: the value of the NeRF synthetic scenes."""
NERFSTUDIO = "transforms.json"
"""The file of nerfstudio's layout."""
MESH = "mesh_ground_truth.npz"
"""The shape that was rendered: vertices (V, 3), in the world of the cameras, and triangles (T, 3)."""


def transforms_path(scene: Path, split: str) -> Path:
    return scene / f"transforms_{split}.json"


def frame_name(split: str, number: int, factor: int = 1) -> str:
    """Name of a view without its suffix; views shrunk by a factor have a folder of their own."""
    return f"{split}/r_{number}" if factor == 1 else f"{split}_{factor}/r_{number}"


def blender_transforms(split: str, poses: np.ndarray) -> dict:
    """The content of one Blender-synthetic transforms file; `poses` are (views, 4, 4) camera-to-world."""
    frames = [
        {"file_path": f"./{frame_name(split, number)}", "rotation": 0.0, "transform_matrix": pose.tolist()}
        for number, pose in enumerate(poses)
    ]
    return {"camera_angle_x": CAMERA_ANGLE_X, "frames": frames}


def nerfstudio_transforms(poses: dict[str, np.ndarray], camera: Camera, suffix: str, factors: Sequence[int]) -> dict:
    """The content of nerfstudio's transforms.json for views at 1 / factor of the camera's resolution, for each factor.

    `poses` are (views, 4, 4) camera-to-world by split. The parser wants a list of file names for every split:
    validation and test stand in for each other where one has no views, and training for both.
    """
    distorted = camera.lens != Lens()
    content: dict = {"camera_model": "OPENCV" if distorted else "PINHOLE"}
    if len(factors) == 1:
        content |= camera.intrinsics
    content |= asdict(camera.lens) if distorted else {}
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    content["frames"] = frames = []
    for split, views in poses.items():
        for number, pose in enumerate(views):
            for factor in factors:
                names[split].append(frame_name(split, number, factor) + suffix)
                frame = {"file_path": names[split][-1], "transform_matrix": pose.tolist()}
                if len(factors) > 1:
                    sizes = {key: camera.intrinsics[key] // factor for key in ("w", "h")}
                    frame |= {key: value / factor for key, value in camera.intrinsics.items()} | sizes
                frames.append(frame)
    names["test"] = names["test"] or names["val"] or names["train"]
    names["val"] = names["val"] or names["test"]
    return content | {f"{split}_filenames": names[split] for split in SPLITS}


def read_transforms(scene: Path, split: str) -> dict:
    """The parsed transforms file of one split; its frames name their images without the `.png`."""
    path = transforms_path(scene, split)
    with reporting("cannot read", path):
        text = path.read_text()
    try:
        transforms = json.loads(text)
        frames = [frame["file_path"] for frame in transforms["frames"]]
        float(transforms["camera_angle_x"])
    except (ValueError, KeyError, TypeError) as error:
        message = f"{path} is not a Blender-synthetic transforms file (camera_angle_x and frames with file_path)"
        raise SceneError(f"{message}: {error!r}") from error
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in frames):
        raise SceneError(f"{path} names images outside its own folder; file_path must be like ./{split}/r_0")
    return transforms


def image_path(scene: Path, frame: dict) -> Path:
    """Path of the image of one frame of a transforms file."""
    return scene / f"{frame['file_path']}.png"


def read_rgba(path: Path) -> np.ndarray:
    """An image as (height, width, 4) uint8, straight alpha; one without alpha is opaque."""
    with reporting("cannot read", path), Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))


def write_rgba(path: Path, image: np.ndarray) -> None:
    """Write (height, width, 4) uint8, straight alpha, as a PNG packed as tightly as Pillow can."""
    _write(path, lambda partial: Image.fromarray(image).save(partial, format="PNG", optimize=True))


def write_rgb(path: Path, image: np.ndarray) -> None:
    """Write (height, width, 3 or 4) uint8 as a JPEG of quality 95 with whole-resolution colour, without the alpha."""
    opaque = Image.fromarray(np.ascontiguousarray(image[..., :3]))
    _write(path, lambda partial: opaque.save(partial, format="JPEG", quality=95, subsampling=0, optimize=True))


def write_depth(path: Path, depth: np.ndarray) -> None:
    """Write (height, width) uint16 as a PNG packed as tightly as Pillow can."""
    _write(path, lambda partial: Image.fromarray(depth).save(partial, format="PNG", optimize=True))


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays by name as a compressed .npz."""

    def save(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)

    _write(path, save)


def write_json(path: Path, content: dict) -> None:
    _write(path, lambda partial: partial.write_text(json.dumps(content, indent=1) + "\n"))


def _write(path: Path, save: Callable[[Path], object]) -> None:
    partial = path.with_name(path.name + ".part")
    with reporting("cannot write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save(partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
