"""`nerfstudio-data`: a transforms.json of photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio
from nerfstudio.data.scene_box import SceneBox

from eugen_fields.data.cameras.intrinsics import read_cameras
from eugen_fields.data.cameras.placing import (
    CENTRE,
    PlacedOutputs,
    Placement,
    check_precision,
    place_cameras,
    read_applied,
)
from eugen_fields.data.parsers.frames import (
    Frame,
    cameras_of,
    poses_of,
    present,
    split_indices,
    warn_of_inverted,
    warn_of_partial_panoramas,
)
from eugen_fields.data.transforms import find_image, read_transforms, warn_of_unused
from eugen_fields.errors import InputError

_SPLITS = ("train_filenames", "val_filenames", "test_filenames")
_ENDINGS = (".png", ".jpg", ".jpeg", ".JPG", ".PNG")
_USED = (
    *("applied_transform", "applied_scale", "orientation_override", "ply_file_path", "mask_path", "depth_file_path"),
    *_SPLITS,
)


class CaptureParser(Nerfstudio):
    """nerfstudio's parser with poses, lenses and world as the file has them."""

    def _generate_dataparser_outputs(self, split: str = "train") -> PlacedOutputs:
        path = self.config.data if self.config.data.suffix == ".json" else self.config.data / "transforms.json"
        path = path.absolute()
        content = read_transforms(path)
        warn_of_unused(path, content, _USED)
        frames = present(self._frames(path, content), path)
        poses = poses_of(frames)
        warn_of_inverted(poses, path)
        warn_of_partial_panoramas(frames, path)
        saved = place_cameras(
            poses,
            content.get("orientation_override", self.config.orientation_method),
            self.config.center_method,
            self.config.auto_scale_poses,
            self.config.scale_factor,
        )
        check_precision(saved.places(poses), path, CENTRE)
        chosen = [frames[index] for index in self._indices(path, content, [frame.image for frame in frames], split)]
        depths = [frame.depth for frame in chosen]
        size = self.config.scene_scale
        return PlacedOutputs(
            image_filenames=[frame.image for frame in chosen],
            cameras=cameras_of(chosen, saved, self.downscale_factor or 1),
            scene_box=SceneBox(aabb=torch.tensor([[-size] * 3, [size] * 3], dtype=torch.float32)),
            mask_filenames=[frame.mask for frame in chosen if frame.mask is not None] or None,
            placement=saved.before(*read_applied(content, str(path))),
            metadata={
                "depth_filenames": depths if depths and None not in depths else None,
                "depth_unit_scale_factor": self.config.depth_unit_scale_factor,
                "mask_color": self.config.mask_color,
                **self._points(path.parent, content, saved),
            },
        )

    def _frames(self, path: Path, content: dict[str, Any]) -> list[Frame]:
        """All frames of the file, in the order of their images' names."""
        folder = path.parent
        lenses = read_cameras(path, content)
        originals = [find_image(folder, frame["file_path"], _ENDINGS) for frame in content["frames"]]
        if self.downscale_factor is None and self.config.downscale_factor is None:
            there = next((image for image in originals if image.is_file()), None)
            if there is None:
                raise InputError(f"image {originals[0]} does not exist, but the scene's cameras name it.")
            self._get_fname(there, folder)  # nerfstudio finds the factor by opening an image
        frames = []
        for frame, lens, original in zip(content["frames"], lenses, originals):
            beside = {}
            for name, key, prefix in (("mask", "mask_path", "masks_"), ("depth", "depth_file_path", "depths_")):
                if frame.get(key):
                    named = find_image(folder, frame[key], ())
                    beside[name] = self._get_fname(named, folder, downsample_folder_prefix=prefix)
            image = self._get_fname(original, folder)
            frames.append(Frame(image, frame["transform_matrix"], lens, **beside))
        without = [frame.mask is None for frame in frames]
        if any(without) and not all(without):
            first = without.index(True)
            raise InputError(
                f'{path}: frame {without.index(False)} has a "mask_path" and frame {first} '
                f"({content['frames'][first]['file_path']}) has none. Give all frames one, white where all is valid."
            )
        return sorted(frames, key=lambda frame: frame.image)

    def _indices(self, path: Path, content: dict[str, Any], images: list[Path], split: str) -> list[int]:
        if not any(name in content for name in _SPLITS):
            return split_indices(images, self.config, split)
        listed = content.get(f"{split}_filenames")
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise InputError(
                f"{path} has {' and '.join(name for name in _SPLITS if name in content)}, but no list "
                f'"{split}_filenames". Add it, or remove the others.'
            )
        named = {frame["file_path"] for frame in content["frames"]}
        unknown = [name for name in listed if name not in named]
        if unknown:
            raise InputError(f'{path}: "{split}_filenames" names {unknown[0]}, which no frame has.')
        wanted = {self._get_fname(find_image(path.parent, name, _ENDINGS), path.parent) for name in listed}
        return [index for index, image in enumerate(images) if image in wanted]

    def _points(self, folder: Path, content: dict[str, Any], saved: Placement) -> dict[str, torch.Tensor]:
        """The point cloud of the file in the scene, where --load-3D-points asks for it."""
        if not self.config.load_3D_points or "ply_file_path" not in content:
            return {}
        transform = torch.from_numpy(saved.transform).float()
        return self._load_3D_points(folder / content["ply_file_path"], transform, saved.scale) or {}
