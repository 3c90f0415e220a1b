"""`nerfstudio-data`: a transforms.json of photos."""

from __future__ import annotations

from dataclasses import replace
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
from eugen_fields.data.scenes.names import FileFinder, inside
from eugen_fields.data.scenes.smaller import SmallerCopies, at_smaller_size, automatic_factor, common_folder
from eugen_fields.data.scenes.splits import SPLITS, fill_splits, match_names
from eugen_fields.data.transforms import find_files, read_transforms, warn_of_unused
from eugen_fields.errors import InputError

_LISTS = {split: f"{split}_filenames" for split in SPLITS}
_USED = (
    *("applied_transform", "applied_scale", "orientation_override", "ply_file_path", "mask_path", "depth_file_path"),
    *_LISTS.values(),
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
        chosen = [frames[index] for index in self._indices(path, content, frames, split)]
        depths = [frame.depth for frame in chosen]
        size = self.config.scene_scale
        outputs = PlacedOutputs(
            image_filenames=[frame.image for frame in chosen],
            cameras=cameras_of(chosen, saved),
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
        assert self.downscale_factor is not None
        if self.downscale_factor == 1:
            return outputs
        return at_smaller_size(outputs, self._copies["images"], self._copies["masks"])

    def _frames(self, path: Path, content: dict[str, Any]) -> list[Frame]:
        """All frames of the file, in the order of their images' names, with images and masks of full size where they
        are there."""
        lenses = read_cameras(path, content)
        finder = FileFinder(path.parent)
        images = [image for image in find_files(path, content, finder) if image is not None]
        masks = find_files(path, content, finder, "mask_path")
        depths = find_files(path, content, FileFinder(path.parent), "depth_file_path")
        self._find_copies(path.parent, images, masks)
        if self.downscale_factor != 1:
            images = [image if image.is_file() else self._copies["images"].find(image) or image for image in images]
        frames = [
            Frame(image, frame["transform_matrix"], lens, mask, depth, frame["file_path"])
            for image, frame, lens, mask, depth in zip(images, content["frames"], lenses, masks, depths)
        ]
        without = [mask is None for mask in masks]
        if any(without) and not all(without):
            first = without.index(True)
            raise InputError(
                f'{path}: frame {without.index(False)} has a "mask_path" and frame {first} '
                f"({content['frames'][first]['file_path']}) has none. Give all frames one, white where all is valid."
            )
        return sorted(frames, key=lambda frame: frame.image)

    def _find_copies(self, folder: Path, images: list[Path], masks: list[Path | None]) -> None:
        """Says where smaller copies of images and masks are or will be, and how many times smaller they are."""
        named = {"images": images, "masks": [mask for mask in masks if mask is not None]}
        factor = self.downscale_factor if self.downscale_factor is not None else self.config.downscale_factor
        self._copies = {
            kind: SmallerCopies(common_folder(paths, folder), folder / kind, 1 if factor is None else factor)
            for kind, paths in named.items()
        }
        if factor is None:
            first = next((image for image in images if image.is_file()), images[0])
            factor = automatic_factor(first, self._copies["images"])
            self._copies = {kind: replace(copies, factor=factor) for kind, copies in self._copies.items()}
        self.downscale_factor = factor

    def _indices(self, path: Path, content: dict[str, Any], frames: list[Frame], split: str) -> list[int]:
        if not any(name in content for name in _LISTS.values()):
            return split_indices([frame.image for frame in frames], self.config, split)
        names = [{frame.name, inside(frame.image, path.parent)} for frame in frames]
        absent = {frame["file_path"] for frame in content["frames"]} - {frame.name for frame in frames}
        listed = {
            split: match_names(f'{path}: "{key}"', content[key], names, absent)
            for split, key in _LISTS.items()
            if key in content
        }
        return fill_splits(path, listed, len(frames), _LISTS)[split]

    def _points(self, folder: Path, content: dict[str, Any], saved: Placement) -> dict[str, torch.Tensor]:
        """The point cloud of the file in the scene, where --load-3D-points asks for it."""
        if not self.config.load_3D_points or "ply_file_path" not in content:
            return {}
        transform = torch.from_numpy(saved.transform).float()
        return self._load_3D_points(folder / content["ply_file_path"], transform, saved.scale) or {}
