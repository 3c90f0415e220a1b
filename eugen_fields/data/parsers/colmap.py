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
from eugen_fields.data.parsers.frames import Frame, cameras_of, poses_of, present, split_indices, warn_of_inverted
from eugen_fields.data.scenes.names import FileFinder
from eugen_fields.data.scenes.smaller import SmallerCopies, at_smaller_size, usual_factor
from eugen_fields.data.scenes.splits import SPLITS, fill_splits, match_names
from eugen_fields.data.scenes.text import read_text
from eugen_fields.errors import InputError

_UPRIGHT = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 0.0]])
"""COLMAP's guess of gravity is +y; nerfstudio's up is +z. Used with assume_colmap_world_coordinate_convention."""
_MODEL_OF = {CameraType.PERSPECTIVE: "OPENCV", CameraType.FISHEYE: "OPENCV_FISHEYE"}


class ColmapParser(ColmapDataParser):
    """nerfstudio's parser with lenses and poses from our own reader: every model that its cameras can have, and the
    same from text and binary files. Splits and smaller images are those of data.scenes."""

    _frames: list[Frame]
    _names: list[str]
    _images: SmallerCopies
    _chosen: list[int]

    def _get_all_images_and_cameras(self, recon_dir: Path) -> dict[str, Any]:
        model = read_scene_model(recon_dir)
        folder = self.config.data / self.config.images_path
        upright = _UPRIGHT if self.config.assume_colmap_world_coordinate_convention else np.eye(4)[:3]
        sides = [max(lens.width, lens.height) for lens in model.lenses.values()]
        factor = self._downscale_factor or self.config.downscale_factor or usual_factor(max(sides))
        copies = SmallerCopies(folder, folder, factor, self.config.downscale_rounding_mode)
        self._images = copies
        finder = FileFinder(folder)
        frames = [
            Frame(
                finder.find(image.name) or copies.find(folder / image.name) or folder / image.name,
                np.vstack([upright @ image.pose, [0, 0, 0, 1]]),
                model.lenses[image.camera],
                name=image.name,
            )
            for image in model.images
        ]
        self._names = [frame.name for frame in frames]
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
        """The mask and the depth image of a photo, where the options name folders of them: NAME.png for NAME.jpg, as
        nerfstudio has it, or NAME.jpg.png, as COLMAP."""
        folders = {"mask_path": self.config.masks_path, "depth_path": self.config.depths_path}
        found = {}
        for key, folder in folders.items():
            if folder is not None:
                finder = FileFinder(self.config.data / folder)
                likely = name.with_suffix(".png")
                path = finder.find(likely.as_posix()) or finder.find(f"{name.as_posix()}.png") or finder.root / likely
                found[key] = path.as_posix()
        return found

    def _get_image_indices(self, image_filenames: list[Path], split: str) -> Any:
        lists = {split: path for split in SPLITS if (path := self._list_of(split)) is not None}
        if lists:
            there = [frame.name for frame in self._frames]
            listed = {
                split: match_names(
                    str(path),
                    [line for line in read_text(path).splitlines() if line.strip()],
                    [{name} for name in there],
                    set(self._names) - set(there),
                )
                for split, path in lists.items()
            }
            names = {split: f"{split}_list.txt" for split in SPLITS}
            self._chosen = fill_splits(self.config.data, listed, len(there), names)[split]
        else:
            self._chosen = split_indices(image_filenames, self.config, split)
        return np.array(self._chosen, dtype=np.int64)

    def _list_of(self, split: str) -> Path | None:
        """The file that lists the images of a split."""
        names = (f"{split}_list.txt", *(("validation_list.txt",) if split == "val" else ()))
        return next((self.config.data / name for name in names if (self.config.data / name).is_file()), None)

    def _setup_downscale_factor(self, image_filenames: list[Path], *others: list[Path]) -> Any:
        """Images and masks of full size; smaller copies take their places when all else is known."""
        self._downscale_factor = self._images.factor
        return (image_filenames, *others, self._downscale_factor)

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
        placed = PlacedOutputs(
            image_filenames=outputs.image_filenames,
            cameras=cameras_of(frames, saved),
            scene_box=outputs.scene_box,
            mask_filenames=outputs.mask_filenames,
            placement=world,
            metadata=metadata,
        )
        if self._downscale_factor == 1:
            return placed
        masks = None
        if options.masks_path is not None:
            folder = options.data / options.masks_path
            masks = dataclasses.replace(self._images, folder=folder, base=folder)
        return at_smaller_size(placed, self._images, masks)
