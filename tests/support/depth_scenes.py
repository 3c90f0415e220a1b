"""Posed depth images of scenes whose distances are known in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eugen_fields.sampling.depth_rays import pixel_rays


def look_at(position: Tensor, target: Tensor) -> Tensor:
    """A camera-to-world pose with OpenGL axes, z of the world up, shape (4, 4)."""
    back = (position - target) / (position - target).norm()
    right = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0], dtype=back.dtype), back)
    right = right / right.norm()
    pose = torch.eye(4, dtype=back.dtype)
    pose[:3] = torch.stack([right, torch.linalg.cross(back, right), back, position], dim=1)
    return pose


def ring_of_cameras(count: int, distance: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Poses (count, 4, 4) around the origin, alternately above and below it."""
    poses = []
    for index in range(count):
        azimuth, elevation = 2.0 * math.pi * index / count, 0.5 if index % 2 else -0.5
        toward = [math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)]
        position = distance * torch.tensor(toward, dtype=dtype)
        poses.append(look_at(position, torch.zeros(3, dtype=dtype)))
    return torch.stack(poses)


def image_rays(height: int, width: int, intrinsics: Tensor, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """pixel_rays through every pixel of an image, by row."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return pixel_rays(rows.flatten(), columns.flatten(), intrinsics, pose)


def sphere_depths(poses: Tensor, intrinsics: Tensor, height: int, width: int, radius: float) -> Tensor:
    """z-depth (F, H, W) of a sphere around the origin, 0 beside it."""
    images = []
    for pose, camera in zip(poses, intrinsics):
        origins, directions, stretch = image_rays(height, width, camera, pose)
        along = -(origins * directions).sum(dim=-1)
        inside = along**2 - (origins**2).sum(dim=-1) + radius**2
        depth = (along - inside.clamp_min(0.0).sqrt()) / stretch
        images.append(torch.where(inside > 0, depth, torch.zeros_like(depth)).view(height, width))
    return torch.stack(images)


def plane_depths(pose: Tensor, intrinsics: Tensor, height: int, width: int, normal: Tensor, offset: float) -> Tensor:
    """z-depth (1, H, W) of the plane normal . x = offset, 0 where a ray does not meet it."""
    origins, directions, stretch = image_rays(height, width, intrinsics, pose)
    distance = (offset - origins @ normal) / (directions @ normal)
    depth = torch.where((distance > 0) & torch.isfinite(distance), distance / stretch, torch.zeros_like(distance))
    return depth.view(1, height, width)
