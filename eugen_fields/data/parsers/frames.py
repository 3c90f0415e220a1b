"""Frames of a scene with their files, poses and lenses, and the cameras that nerfstudio gets of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.utils import dataparsers_utils

from eugen_fields.data.cameras.intrinsics import Lens
from eugen_fields.data.cameras.placing import Placement
from eugen_fields.data.cameras.poses import look_inverted
from eugen_fields.errors import InputError


@dataclass(frozen=True)
class Frame:
    """One image of a scene."""

    image: Path
    pose: Float[np.ndarray, "4 4"]
    """Camera-to-world as the file has it, OpenGL axes."""
    lens: Lens
    mask: Path | None = None
    depth: Path | None = None
    name: str = ""
    """What its file calls the image."""


def poses_of(frames: Sequence[Frame]) -> Float[np.ndarray, "frames 4 4"]:
    """The poses of frames, float64."""
    return np.array([frame.pose for frame in frames], dtype=np.float64).reshape(-1, 4, 4)


def present(frames: list[Frame], source: Path) -> list[Frame]:
    """The frames whose images are there, with one warning for the others; all where fewer than half are, so that
    whoever needs the images finds out."""
    kept = [frame for frame in frames if frame.image.is_file()]
    missing = len(frames) - len(kept)
    if not missing or 2 * len(kept) < len(frames):
        return frames
    first = next(frame.image for frame in frames if not frame.image.is_file())
    warnings.warn(
        f"{source}: left out {missing} of {len(frames)} frames without an image, first {first}.", stacklevel=3
    )
    return kept


def warn_of_inverted(poses: Float[np.ndarray, "frames 4 4"], source: Path) -> None:
    """A warning where poses look like world-to-camera matrices."""
    if look_inverted(poses):
        warnings.warn(
            f"{source}: the poses look like world-to-camera matrices: inverted, all {len(poses)} cameras look at one "
            'point, and as they stand they do not. "transform_matrix" must be camera-to-world; invert them if so.',
            stacklevel=3,
        )


def warn_of_partial_panoramas(frames: Sequence[Frame], source: Path) -> None:
    """A warning where spherical images do not show all of the sphere, as their focal lengths say: those of another kind
    of camera may have been left in the file."""
    for lens in {frame.lens for frame in frames if frame.lens.kind is CameraType.EQUIRECTANGULAR}:
        across, down = 180.0 * lens.width / lens.fx, 180.0 * lens.height / lens.fy
        if abs(across - 360.0) > 1.0 or abs(down - 180.0) > 1.0:
            warnings.warn(
                f"{source}: by fl_x and fl_y, {lens.width}x{lens.height} pixels of a panorama show {across:.3g} x "
                f"{down:.3g} degrees. Of a whole one fl_x is half of the width and fl_y the height.",
                stacklevel=3,
            )


def split_indices(images: list[Path], config, split: str) -> list[int]:
    """Indices of the images of a split, by nerfstudio's options eval_mode, train_split_fraction and eval_interval."""
    if config.eval_mode == "fraction":
        parts = dataparsers_utils.get_train_eval_split_fraction(images, config.train_split_fraction)
    elif config.eval_mode == "filename":
        parts = dataparsers_utils.get_train_eval_split_filename(images)
    elif config.eval_mode == "interval":
        parts = dataparsers_utils.get_train_eval_split_interval(images, config.eval_interval)
    elif config.eval_mode == "all":
        parts = dataparsers_utils.get_train_eval_split_all(images)
    else:
        raise InputError(f"--eval-mode {config.eval_mode} is not known.")
    return [int(index) for index in parts[0 if split == "train" else 1]]


def cameras_of(frames: list[Frame], placement: Placement, downscale: float = 1.0, rounding: str = "floor") -> Cameras:
    """nerfstudio's cameras of frames, for images `downscale` times smaller than their lenses say."""
    lenses = [frame.lens for frame in frames]

    def column(name: str) -> torch.Tensor:
        return torch.tensor([getattr(lens, name) for lens in lenses], dtype=torch.float32)

    distortion = torch.tensor([lens.distortion for lens in lenses], dtype=torch.float32)
    radii = [lens.crop_radius for lens in lenses if lens.crop_radius is not None]
    cameras = Cameras(
        camera_to_worlds=placement.cameras(poses_of(frames)),
        fx=column("fx"),
        fy=column("fy"),
        cx=column("cx"),
        cy=column("cy"),
        width=torch.tensor([lens.width for lens in lenses], dtype=torch.int64),
        height=torch.tensor([lens.height for lens in lenses], dtype=torch.int64),
        distortion_params=distortion if distortion.any() else None,
        camera_type=torch.tensor([lens.kind.value for lens in lenses], dtype=torch.int64),
        metadata={"fisheye_crop_radius": min(radii) / downscale} if radii else {},
    )
    cameras.rescale_output_resolution(1.0 / downscale, scale_rounding_mode=rounding)
    return cameras
