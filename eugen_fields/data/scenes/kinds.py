"""What kind of scene a folder holds, by its files: an object in a box, a capture, a depth stream, or bare photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eugen_fields.data.parsers.colmap_model import MODEL_PLACES, model_format
from eugen_fields.data.scenes.names import PHOTO_ENDINGS
from eugen_fields.data.scenes.text import read_json
from eugen_fields.errors import InputError


@dataclass(frozen=True)
class SceneKind:
    """What a folder holds, and by what it is known."""

    name: Literal["object", "capture", "stream", "photos"]
    why: str
    """What was found, to be read behind the name of the folder: "has ..."."""
    colmap_path: Path | None = None
    """Where in the folder a COLMAP model lies, if that is what it is known by."""


def scene_kind(folder: Path) -> SceneKind:
    """The kind of the scene in a folder.

    - object: Blender's layout, whose scenes lie in a box.
    - stream: depth images with poses, in any layout of eugen_fields.data.depth.
    - capture: photos with poses, by a transforms.json or a COLMAP model; there may be anything behind the subject.
    - photos: images alone.

    Raises:
        InputError: the folder does not exist or holds none of these, or its transforms.json cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"the scene {folder} does not exist. Give the folder of a scene, or of photos.")
    if (folder / "transforms_train.json").is_file():
        return SceneKind("object", "has a transforms_train.json: an object in a box")
    transforms = folder / "transforms.json"
    if transforms.is_file():
        content = read_json(transforms)
        frames = content.get("frames") if isinstance(content, dict) else None
        frames = frames if isinstance(frames, list) else []  # what reads them says what is wrong
        if any(isinstance(frame, dict) and frame.get("depth_file_path") for frame in frames):
            return SceneKind("stream", "has a transforms.json with depth images: a depth stream")
        return SceneKind("capture", "has a transforms.json without depth images: a capture, maybe without bounds")
    if (folder / "traj.txt").is_file():
        return SceneKind("stream", "has a traj.txt: a depth stream")
    if (folder / "groundtruth.txt").is_file() and (folder / "depth.txt").is_file():
        return SceneKind("stream", "has a groundtruth.txt and a depth.txt: a depth stream")
    for place in MODEL_PLACES:
        if model_format(folder / place):
            return SceneKind("capture", f"has a COLMAP model in {place}: a capture, maybe without bounds", Path(place))
    photos = [path for path in folder.iterdir() if path.suffix.lower() in PHOTO_ENDINGS]
    if photos:
        return SceneKind("photos", f"has {len(photos)} images and no poses: photos")
    raise InputError(
        f"{folder} is no scene: it has neither a transforms_train.json, nor a transforms.json, nor a depth stream "
        "(traj.txt, or groundtruth.txt and depth.txt), nor a COLMAP model, nor photos."
    )
