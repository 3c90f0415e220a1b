"""The photos that a run was trained on, with their cameras in the frame that is shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image

from eugen_fields.data.depth.depth_parser import DepthStreamDataParserConfig
from eugen_fields.data.images import Size, read_image
from eugen_fields.data.parsers.choose import set_up_parser
from eugen_fields.errors import InputError
from eugen_fields.runs.restore import restore_data_parser
from eugen_fields.runs.scene import find_scene
from eugen_viewer.opened import OpenedRun
from eugen_viewer.pictures.cameras import View

PARSERS = (BlenderDataParserConfig, NerfstudioDataParserConfig, DepthStreamDataParserConfig)
"""The data parsers that are run for a stranger's config.yml, built from its plain values."""


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
    """The training photos of a run, if its data is still there.

    Raises:
        InputError: it is not, or it was read by another data parser than ours.
    """
    config_path = opened.folder / "config.yml"
    parser = restore_data_parser(opened.config, config_path)
    if not isinstance(parser, PARSERS):
        raise InputError(f"the photos of {config_path} were read by {type(parser).__name__}, which is not shown.")
    parser.data = find_scene(opened.folder, parser, parser.data)
    try:
        outputs = set_up_parser(parser).get_dataparser_outputs("train")
        cameras = outputs.cameras
        paths = [Path(name) for name in outputs.image_filenames] if outputs.metadata.get("has_color", True) else []
        if cameras.height is None or bool((cameras.height <= 0).any()):
            with Image.open(paths[0]) as image:
                cameras.width = torch.full_like(cameras.cx, image.width, dtype=torch.int64)
                cameras.height = torch.full_like(cameras.cx, image.height, dtype=torch.int64)
    except InputError:
        raise
    except Exception as error:  # data parsers raise many kinds for damaged data
        raise InputError(f"the photos in {parser.data} cannot be read ({error}).") from None
    return Photos(paths, cameras)
