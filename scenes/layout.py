"""The Blender-synthetic layout on disk: `transforms_{train,val,test}.json` beside folders of RGBA PNGs.

Every file is written beside its final name and then renamed, so a file that exists is whole.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from console import SceneError, reporting
from PIL import Image

SPLITS = ("train", "val", "test")
CAMERA_ANGLE_X = 0.6911112070083618
"""Horizontal field of view, radians: the value of the NeRF synthetic scenes."""


def transforms_path(scene: Path, split: str) -> Path:
    return scene / f"transforms_{split}.json"


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
    """Where the image of one frame of a transforms file lies."""
    return scene / f"{frame['file_path']}.png"


def read_rgba(path: Path) -> np.ndarray:
    """An image as (height, width, 4) uint8, straight alpha; one without alpha is opaque."""
    with reporting("cannot read", path), Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))


def write_rgba(path: Path, image: np.ndarray) -> None:
    """Write (height, width, 4) uint8, straight alpha, as a PNG packed as tightly as Pillow can."""
    _write(path, lambda partial: Image.fromarray(image).save(partial, format="PNG", optimize=True))


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
