"""`colmap`: a folder of photos with a COLMAP model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParser

from eugen_fields.data.cameras.placing import CENTRE, PlacedOutputs, check_precision, place_cameras
from eugen_fields.data.parsers.colmap_model import read_scene_model
from eugen_fields.data.parsers.frames import Frame, cameras_of, poses_of, present, warn_of_inverted
from eugen_fields.errors import InputError

_UPRIGHT = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 0.0]])
"""COLMAP's guess of gravity is +y; nerfstudio's up is +z. Used with assume_colmap_world_coordinate_convention."""
_MODEL_OF = {CameraType.PERSPECTIVE: "OPENCV", CameraType.FISHEYE: "OPENCV_FISHEYE"}


class ColmapParser(ColmapDataParser):
    """nerfstudio's parser with lenses and poses from our own reader: every model that its cameras can have, and the
    same from text and binary files. Names of files, splits and smaller images are its own."""

    _frames: list[Frame]
    _chosen: list[int]

    def _get_all_images_and_cameras(self, recon_dir: Path) -> dict[str, Any]:
        model = read_scene_model(recon_dir)
        folder = self.config.data / self.config.images_path
        upright = _UPRIGHT if self.config.assume_colmap_world_coordinate_convention else np.eye(4)[:3]
        frames = [
            Frame(folder / image.name, np.vstack([upright @ image.pose, [0, 0, 0, 1]]), model.lenses[image.camera])
            for image in model.images
        ]
        self._frames = present(frames, recon_dir)
        lenses = {frame.image: frame.lens for frame in self._frames}
        kinds = {lens.kind for lens in lenses.values()}
        if len(kinds) > 1:
            names = " and ".join(sorted(kind.name for kind in kinds))
            raise InputError(
                f"{recon_dir}: its cameras are of types {names}. Put photos of another type into a scene of their own."
            )
        return {
            "camera_model": _MODEL_OF[kinds.pop()],
            "frames": [
                {
                    "file_path": frame.image.as_posix(),
                    "transform_matrix": frame.pose,
                    **{"fl_x": frame.lens.fx, "fl_y": frame.lens.fy, "cx": frame.lens.cx, "cy": frame.lens.cy},
                    **{"w": frame.lens.width, "h": frame.lens.height},
                    **self._beside(frame.image.relative_to(folder)),
                }
                for frame in self._frames
            ],
        }

    def _beside(self, name: Path) -> dict[str, str]:
        """The mask and the depth image of a photo, where the options name folders of them."""
        folders = {"mask_path": self.config.masks_path, "depth_path": self.config.depths_path}
        return {
            key: (self.config.data / folder / name).with_suffix(".png").as_posix()
            for key, folder in folders.items()
            if folder is not None
        }

    def _get_image_indices(self, image_filenames: list[Path], split: str) -> Any:
        indices = super()._get_image_indices(image_filenames, split)
        self._chosen = [int(index) for index in indices]
        return indices

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> PlacedOutputs:
        options = self.config
        neutral: dict[str, Any] = {"orientation_method": "none", "center_method": "none", "auto_scale_poses": False}
        self.config = dataclasses.replace(options, **neutral, scale_factor=1.0)
        try:
            outputs = super()._generate_dataparser_outputs(split, **kwargs)
        finally:
            self.config = options
        poses = poses_of(self._frames)
        warn_of_inverted(poses, options.data / options.colmap_path)
        saved = place_cameras(
            poses,
            options.orientation_method,
            options.center_method,
            options.auto_scale_poses,
            options.scale_factor,
        )
        check_precision(saved.places(poses), options.data / options.colmap_path, CENTRE)
        upright = _UPRIGHT if options.assume_colmap_world_coordinate_convention else np.eye(4)[:3]
        world = saved.before(upright, 1.0)
        assert self._downscale_factor is not None
        frames = [self._frames[index] for index in self._chosen]
        metadata = dict(outputs.metadata)
        if "points3D_xyz" in metadata:  # as COLMAP has them: the options above are neutral
            turn, shift = torch.from_numpy(world.transform).split([3, 1], dim=1)
            points = metadata["points3D_xyz"].double() @ turn.T + shift[:, 0]
            metadata["points3D_xyz"] = (world.scale * points).float()
        return PlacedOutputs(
            image_filenames=outputs.image_filenames,
            cameras=cameras_of(frames, saved, self._downscale_factor, options.downscale_rounding_mode),
            scene_box=outputs.scene_box,
            mask_filenames=outputs.mask_filenames,
            placement=world,
            metadata=metadata,
        )
