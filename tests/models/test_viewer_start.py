"""Where a page opens."""

import math

import torch
from depth_scenes import look_at

from eugen_fields.models.viewer_start import overlook


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
