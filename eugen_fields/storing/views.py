"""The views that a stored field is held against: test views with photos where the data is there, else renders of the
run itself from cameras around what it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from eugen_fields.data.multiscale import MultiScaleDataset
from eugen_fields.errors import InputError
from eugen_fields.models.radiance import cone_radius
from eugen_fields.runs import RadianceRun, Run, read_config
from eugen_fields.runs.scene_data import read_scene_data
from eugen_fields.storing.cameras import Camera, Rays

STORED_CAMERAS = 8
"""Training cameras that go into a file."""
_CALIBRATION_VIEWS = 50
_OWN_VIEWS, _OWN_SIZE = 24, 200
_OWN_FIELD_OF_VIEW = math.radians(40.0)


@dataclass
class Views:
    """Cameras of a run.

    Args:
        training: rays of training views, or of cameras around what the field shows.
        cameras: some of the training cameras that are pinholes.
        tests: rays and photos, RGB or RGBA (height, width, channels), of test views; made when they are called for.
        missing: why there are no test views, for people; empty where there are some.
    """

    training: Sequence[Callable[[], Rays]]
    cameras: list[Camera]
    tests: Sequence[Callable[[], tuple[Rays, Tensor]]] = field(default_factory=list)
    missing: str = ""


def find_views(run: Run) -> Views:
    """The views of a run."""
    try:
        config = read_config(run.folder / "config.yml")
        train = read_scene_data(run.folder, config, "train").cameras
        cameras = [_camera(train[index]) for index in _some(len(train), STORED_CAMERAS) if _is_pinhole(train[index])]
        training = [_rays_of(train, index) for index in _some(len(train), _CALIBRATION_VIEWS)]
    except InputError as error:
        return _own_views(run, error.message)
    if not isinstance(run, RadianceRun):
        return Views(training, cameras, missing="signed distances have no photos.")
    try:
        outputs = read_scene_data(run.folder, config, "test")
        photos = MultiScaleDataset(outputs)
    except InputError as error:
        return Views(training, cameras, missing=error.message)
    tests = [_test_view(photos, index) for index in range(len(photos))]
    return Views(training, cameras, tests, "" if tests else "the scene has no test views.")


def _own_views(run: Run, missing: str) -> Views:
    """Views from around what a field of density shows."""
    if not isinstance(run, RadianceRun):
        return Views([], [], missing=missing)
    low, high = run.grid.bounds.cpu()
    center, radius = (low + high) / 2, float((high - low).norm()) / 2
    distance, focal = radius / math.sin(_OWN_FIELD_OF_VIEW / 2), 0.5 * _OWN_SIZE / math.tan(_OWN_FIELD_OF_VIEW / 2)
    cameras = []
    for index in range(_OWN_VIEWS):
        turn, rise = math.tau * index * 0.618034, math.asin(-0.2 + 1.1 * (index + 0.5) / _OWN_VIEWS)
        back = torch.tensor([math.cos(rise) * math.cos(turn), math.cos(rise) * math.sin(turn), math.sin(rise)])
        right = torch.tensor([-math.sin(turn), math.cos(turn), 0.0])
        pose = torch.stack([right, torch.linalg.cross(back, right), back, center + distance * back], dim=1)
        half = _OWN_SIZE / 2
        cameras.append(Camera(pose, _OWN_SIZE, _OWN_SIZE, focal, focal, half, half))
    stored = [cameras[index] for index in _some(len(cameras), STORED_CAMERAS)]
    return Views([camera.rays for camera in cameras], stored, missing=missing)


def _some(count: int, most: int) -> list[int]:
    """At most so many of `count` places, evenly spread."""
    return sorted({index * count // most for index in range(most)}) if count > most else list(range(count))


def _is_pinhole(camera: Cameras) -> bool:
    return int(camera.camera_type) == CameraType.PERSPECTIVE.value


def _camera(camera: Cameras) -> Camera:
    """A camera without its distortion."""
    fx, fy, cx, cy = (float(value) for value in (camera.fx, camera.fy, camera.cx, camera.cy))
    pose = camera.camera_to_worlds[:3, :4].float().cpu()
    return Camera(pose, int(camera.width), int(camera.height), fx, fy, cx, cy)


def _rays_of(cameras: Cameras, index: int) -> Callable[[], Rays]:
    def rays() -> Rays:
        bundle = cameras.generate_rays(index).flatten()
        return bundle.origins, bundle.directions, cone_radius(bundle)

    return rays


def _test_view(photos: MultiScaleDataset, index: int) -> Callable[[], tuple[Rays, Tensor]]:
    return lambda: (_rays_of(photos.cameras, index)(), photos.get_image_float32(index))
