"""Cameras between the browser's axes (OpenCV: y down, looking along z) and nerfstudio's (OpenGL: y up, along -z)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from scipy.spatial.transform import Rotation

_FLIP = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class View:
    """A pinhole camera without a size yet."""

    pose: np.ndarray
    """Camera to the shown frame, OpenGL axes, shape (3, 4)."""
    fov: float
    """Vertical field of view, radians."""
    aspect: float
    """Width over height."""

    @classmethod
    def of_browser(cls, wxyz: np.ndarray, position: np.ndarray, fov: float, aspect: float) -> View:
        """The view of a browser's camera as viser reports it; the aspect is 0 or NaN before the page has a size."""
        rotation = Rotation.from_quat(np.asarray(wxyz)[[1, 2, 3, 0]]).as_matrix() @ _FLIP
        pose = np.concatenate([rotation, np.asarray(position)[:, None]], axis=1)
        return cls(pose, float(fov), float(aspect) if aspect > 0 else 1.0)

    @classmethod
    def of_camera(cls, camera: Cameras) -> View:
        """The view of one nerfstudio camera, without its distortion and principal point."""
        height, width = int(camera.height), int(camera.width)
        fov = 2.0 * math.atan(0.5 * height / float(camera.fy))
        return cls(camera.camera_to_worlds.cpu().numpy().astype(np.float64), fov, width / height)

    @property
    def wxyz(self) -> np.ndarray:
        """Rotation of the OpenCV camera, as viser wants it."""
        return Rotation.from_matrix(self.pose[:, :3] @ _FLIP).as_quat()[[3, 0, 1, 2]]

    @property
    def position(self) -> np.ndarray:
        return self.pose[:, 3]

    def width(self, height: int) -> int:
        """Width of an image of this height, pixels, at least 1."""
        return max(1, round(height * self.aspect))

    def camera(self, height: int) -> Cameras:
        """The nerfstudio camera of an image of this height."""
        width, focal = self.width(height), 0.5 * height / math.tan(0.5 * self.fov)
        return Cameras(
            camera_to_worlds=torch.from_numpy(self.pose).float()[None],
            fx=focal,
            fy=focal,
            cx=0.5 * width,
            cy=0.5 * height,
            width=width,
            height=height,
            camera_type=CameraType.PERSPECTIVE,
        )
