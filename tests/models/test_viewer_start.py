"""Where a page opens, and what models ask of nerfstudio's viewer when it starts."""

import math
from types import SimpleNamespace

import pytest
import torch
from support.depth_scenes import look_at

from eugen_fields.models.viewer_start import SmallFramesOnCPU, overlook


def started(device: str, trains: bool = True):
    """A viewer as nerfstudio leaves it once the scene is set up, with the control of a model in it."""
    viewer = SimpleNamespace(
        viser_server=None,
        trainer=object() if trains else None,
        pipeline=SimpleNamespace(device=device),
        control_panel=SimpleNamespace(_max_res=SimpleNamespace(value=512)),
    )
    viewer.init_scene = lambda: setattr(viewer, "train_util", 0.9)
    SmallFramesOnCPU(128, 0.7)._setup(viewer)  # type: ignore[arg-type]
    viewer.init_scene()
    return viewer.control_panel._max_res.value, viewer.train_util


def test_a_cpu_that_trains_renders_smaller_frames_more_often():
    assert started("cpu") == (128, 0.7)


@pytest.mark.parametrize("device, trains", [("cuda:0", True), ("cpu", False)])
def test_gpus_and_finished_runs_keep_what_nerfstudio_has(device, trains):
    assert started(device, trains) == (512, 0.9)


def test_the_whole_box_is_in_view_from_above_and_from_behind_the_camera() -> None:
    aabb = torch.tensor([[-3.0, -1.0, 0.0], [2.0, 4.0, 2.5]])
    corners = torch.cartesian_prod(*aabb.T)
    angle = math.radians(75.0)
    for target in ([4.0, 1.0, 0.5], [-3.0, -1.0, 1.0], [0.0, 4.0, 3.0]):
        pose = look_at(torch.tensor([0.5, 1.0, 1.2]), torch.tensor(target))
        position, middle = overlook(aabb, pose, angle)
        assert position[2] > aabb[1, 2]
        assert float((position - middle)[:2] @ pose[:2, 2]) > 0
        to_corners = torch.nn.functional.normalize(corners - position, dim=-1)
        to_middle = torch.nn.functional.normalize(middle - position, dim=-1)
        assert float(torch.acos(to_corners @ to_middle).max()) <= 0.5 * angle + 1e-3


def test_a_camera_that_looks_straight_down_has_a_place_too() -> None:
    pose = torch.eye(4)[:3]
    position, _ = overlook(torch.tensor([[-1.0] * 3, [1.0] * 3]), pose, 1.0)
    assert bool(position.isfinite().all())
