"""`blender-data`: transforms_train.json and its like, as NeRF's synthetic scenes have them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from nerfstudio.data.dataparsers.blender_dataparser import Blender
from nerfstudio.data.scene_box import SceneBox

from eugen_fields.data.cameras.intrinsics import read_cameras
from eugen_fields.data.cameras.placing import MOVE, PlacedOutputs, Placement, check_precision, read_applied
from eugen_fields.data.parsers.frames import Frame, cameras_of, poses_of, present, warn_of_inverted
from eugen_fields.data.parsers.instant_ngp import image_size
from eugen_fields.data.scenes.names import FileFinder
from eugen_fields.data.scenes.splits import blender_file
from eugen_fields.data.transforms import find_files, read_transforms, warn_of_unused
from eugen_fields.errors import InputError

_BOX = 1.5
"""Half the side of nerfstudio's scene box for these scenes."""


class BlenderParser(Blender):
    """nerfstudio's parser, which knows camera_angle_x alone, with whatever else a file says of its lenses."""

    def _generate_dataparser_outputs(self, split: str = "train") -> PlacedOutputs:
        path = blender_file(self.data, split)
        content = read_transforms(path)
        warn_of_unused(path, content, ("applied_transform", "applied_scale"))
        if not (math.isfinite(self.scale_factor) and self.scale_factor > 0):
            raise InputError(f"--scale-factor is {self.scale_factor}; it must be positive.")
        images = [image for image in find_files(path, content, FileFinder(self.data, ".png")) if image is not None]
        first = next((image for image in images if image.is_file()), images[0])
        lenses = read_cameras(path, content, angles=True, image_size=lambda _: image_size(first))
        poses = [frame["transform_matrix"] for frame in content["frames"]]
        frames = present([Frame(*parts) for parts in zip(images, poses, lenses)], path)
        warn_of_inverted(poses_of(frames), path)
        saved = Placement(np.eye(4)[:3], self.scale_factor)
        check_precision(saved.places(poses_of(frames)), path, MOVE)
        metadata: dict[str, Any] = {}
        if self.config.ply_path is not None:
            metadata = self._load_3D_points(self.data / self.config.ply_path)
        return PlacedOutputs(
            image_filenames=[frame.image for frame in frames],
            cameras=cameras_of(frames, saved),
            alpha_color=self.alpha_color_tensor,
            scene_box=SceneBox(aabb=torch.tensor([[-_BOX] * 3, [_BOX] * 3])),
            placement=saved.before(*read_applied(content, str(path))),
            metadata=metadata,
        )
