"""The photos that a run was trained on, with their cameras in the frame that is shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from PIL import Image

from eugen_fields.data.images import Size, read_image
from eugen_fields.errors import InputError
from eugen_fields.runs.scene_data import read_scene_data
from eugen_fields.storing.opening import stored_of
from eugen_viewer.opened import OpenedRun
from eugen_viewer.pictures.cameras import View


@dataclass
class Photos:
    """Training photos.

    Args:
        paths: image files, one per photo; empty where the frames hold only depth.
        cameras: the camera of each photo, all with a size.
    """

    paths: list[Path]
    cameras: Cameras

    def __len__(self) -> int:
        return len(self.cameras)

    def view(self, index: int) -> View:
        return View.of_camera(self.cameras[index])

    def image(self, index: int, longest: int) -> np.ndarray | None:
        """A photo on white, at most this many pixels long, uint8 (height, width, 3); None: it cannot be read."""
        if not self.paths:
            return None
        camera = self.cameras[index]
        return _read(self.paths[index], (int(camera.width), int(camera.height)), longest)

    def nearest(self, view: View) -> int:
        """Index of the photo whose position and direction are most similar to those of a view."""
        poses = self.cameras.camera_to_worlds.cpu().numpy()
        away = np.linalg.norm(poses[:, :, 3] - view.position, axis=1)
        spread = np.linalg.norm(poses[:, :, 3] - poses[:, :, 3].mean(axis=0), axis=1).mean() + 1e-6
        turned = 1.0 - poses[:, :, 2] @ view.pose[:, 2]
        return int(np.argmin(away / spread + turned))

    def some(self, count: int) -> list[int]:
        """At most this many photos, evenly spread over all."""
        return sorted({round(index) for index in np.linspace(0, len(self) - 1, min(count, len(self)))})


@lru_cache(maxsize=256)
def _read(path: Path, size: Size, longest: int) -> np.ndarray | None:
    try:
        image = read_image(path, size)
    except InputError:
        return None
    image.thumbnail((longest, longest))
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def find_photos(opened: OpenedRun) -> Photos:
    """The training photos of a run, if its data is still there; of a field file its cameras, without photos.

    Raises:
        InputError: the data is not there, or was read by another data parser than ours; the file has no cameras.
    """
    if opened.config is None:
        return Photos([], _stored_cameras(opened))
    outputs = read_scene_data(opened.folder, opened.config, "train")
    has_color = outputs.metadata.get("has_color", True)
    return Photos([Path(name) for name in outputs.image_filenames] if has_color else [], outputs.cameras)


def _stored_cameras(opened: OpenedRun) -> Cameras:
    stored = stored_of(opened.shown.run)
    if stored is None or not stored.cameras:
        raise InputError(f"{opened.folder} holds no cameras, so that none are shown.")
    width, height, fx, fy, cx, cy = torch.tensor([camera.lens for camera in stored.cameras]).T[..., None]
    poses = torch.stack([camera.pose for camera in stored.cameras])
    return Cameras(poses, fx, fy, cx, cy, width.long(), height.long(), camera_type=CameraType.PERSPECTIVE)
