"""Rays through the pixels of posed depth images, and samples along them.

Source: "iSDF" (Ortiz et al., 2022), whose published numbers are the defaults. Everything here is in metres along rays
of unit length (iSDF measures along the optical axis); depth images hold the distance along the optical axis (z-depth),
which is shorter by the cosine of the angle between the ray and the axis.

Cameras are those of nerfstudio: camera-to-world with OpenGL axes (x right, y up, looking along -z), the middle of the
first pixel at (0.5, 0.5).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_TRIES = 8
"""Pixels looked at for each one wanted, until one has a depth."""


class DepthRays(NamedTuple):
    """Rays from cameras to the surfaces that they saw."""

    origins: Tensor
    """Shape (R, 3), world, metres."""
    directions: Tensor
    """Shape (R, 3), world, unit length."""
    distances: Tensor
    """Where the surface is along each ray, shape (R,), metres."""
    normals: Tensor
    """Unit normals of the surface, towards the camera, shape (R, 3), world; 0 where the depth image does not tell."""
    frames: Tensor
    """Index of the depth image of each ray, shape (R,)."""

    def surface(self) -> Tensor:
        """The surface points, shape (R, 3), world, metres."""
        return self.origins + self.distances[:, None] * self.directions

    def at(self, distances: Tensor) -> Tensor:
        """Points at these distances (R, S) along the rays, shape (R, S, 3), world, metres."""
        return self.origins[:, None] + distances[..., None] * self.directions[:, None]


def camera_directions(rows: Tensor, columns: Tensor, intrinsics: Tensor) -> Tensor:
    """Directions with z-depth 1 in camera axes through the middles of pixels, shape (R, 3).

    A pixel of z-depth z is seen at z times its direction.

    Args:
        rows, columns: shape (R,).
        intrinsics: fx, fy, cx, cy in pixels, shape (4,) or (R, 4).
    """
    fx, fy, cx, cy = intrinsics.unbind(dim=-1)
    x = (columns.to(intrinsics.dtype) + 0.5 - cx) / fx
    y = (rows.to(intrinsics.dtype) + 0.5 - cy) / fy
    return torch.stack([x, -y, -torch.ones_like(x)], dim=-1)


def pixel_rays(rows: Tensor, columns: Tensor, intrinsics: Tensor, poses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rays through the middles of pixels.

    Args:
        rows, columns: shape (R,).
        intrinsics: fx, fy, cx, cy in pixels, shape (4,) or (R, 4).
        poses: camera-to-world, shape (3 or 4, 4) or (R, 3 or 4, 4).

    Returns:
        origins (R, 3); unit directions (R, 3); and the metres along each ray for one metre of z-depth, shape (R,).
    """
    directions = camera_directions(rows, columns, intrinsics)
    stretch = directions.norm(dim=-1)
    turned = (poses[..., :3, :3] * directions[:, None, :]).sum(dim=-1)
    return poses[..., :3, 3].expand_as(turned), turned / stretch[:, None], stretch


def draw_pixels(
    depths: Tensor,
    frames: Tensor,
    per_frame: int,
    generator: torch.Generator | None = None,
    *,
    min_depth: float = 0.07,
    max_depth: float = float("inf"),
) -> tuple[Tensor, Tensor, Tensor]:
    """Random pixels that have a depth, each with the same probability, drawn with replacement.

    Looks at `per_frame` * 8 pixels of an image, not at all of them: where few pixels have a depth it finds fewer than
    asked for (half of the image empty: one in 256 is missing).

    Args:
        depths: z-depth in metres, shape (F, H, W); none where it is 0, not finite, or outside the range.
        frames: images to draw from, shape (n,).
        per_frame: pixels of each.
        generator: of the draws; its device decides where they are made.
        min_depth, max_depth: range of valid z-depths, metres, ends included.

    Returns:
        frames, rows and columns of the pixels, each of shape (R,), R <= n * per_frame, by image.
    """
    height, width = depths.shape[1:]
    device = generator.device if generator is not None else depths.device
    drawn = torch.randint(height * width, (len(frames), per_frame, _TRIES), generator=generator, device=device)
    drawn = drawn.to(depths.device)
    frames = frames.to(depths.device)
    values = depths.flatten(1)[frames[:, None, None], drawn]
    valid = torch.isfinite(values) & (values >= min_depth) & (values <= max_depth) & (values > 0)
    first = valid.int().argmax(dim=-1, keepdim=True)
    found = valid.any(dim=-1).flatten().nonzero()[:, 0]
    pixels = drawn.gather(-1, first).flatten()[found]
    return frames[found // per_frame], pixels // width, pixels % width


def depth_normals(
    depths: Tensor, frames: Tensor, rows: Tensor, columns: Tensor, intrinsics: Tensor, *, max_jump: float = 0.02
) -> Tensor:
    """Unit normals towards the camera, in camera axes, from the four neighbours of pixels; exact on planes.

    The normal is 0 where it is unknown: at the border of the image, where a pixel or a neighbour has no depth, and at
    jumps. Along a line of pixels 1 / z is linear on a plane however it is slanted, so a jump is where the middle of two
    opposite neighbours' 1 / z differs from the pixel's by more than `max_jump` of it.

    Args:
        depths: z-depth in metres, shape (F, H, W); 0 or not finite where there is none.
        frames, rows, columns: the pixels, each of shape (R,).
        intrinsics: fx, fy, cx, cy in pixels, shape (4,) or (R, 4).

    Returns:
        shape (R, 3).
    """
    height, width = depths.shape[1:]
    inside = (rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1)
    # border pixels look at the ones inside, for an answer that is thrown away
    middle_row, middle_column = rows.clamp(1, max(height - 2, 1)), columns.clamp(1, max(width - 2, 1))
    if height < 3 or width < 3:
        return torch.zeros(len(rows), 3, dtype=depths.dtype, device=depths.device)
    center = depths[frames, middle_row, middle_column]
    known, edges = inside & _has_depth(center), []
    for row_step, column_step in ((0, 1), (-1, 0)):  # to the right and upwards: right x up faces the camera
        points, inverse = [], torch.zeros_like(center)
        for sign in (1, -1):
            row, column = middle_row + sign * row_step, middle_column + sign * column_step
            depth = depths[frames, row, column]
            known = known & _has_depth(depth)
            inverse = inverse + 0.5 / depth
            points.append(depth[:, None] * camera_directions(row, column, intrinsics))
        known = known & ((inverse * center - 1.0).abs() <= max_jump)
        edges.append(points[0] - points[1])
    normals = torch.linalg.cross(*edges)
    return torch.where(known[:, None], F.normalize(normals, dim=-1), torch.zeros_like(normals))


def _has_depth(depth: Tensor) -> Tensor:
    return torch.isfinite(depth) & (depth > 0)


def depth_rays(
    depths: Tensor,
    intrinsics: Tensor,
    poses: Tensor,
    frames: Tensor,
    per_frame: int,
    generator: torch.Generator | None = None,
    *,
    min_depth: float = 0.07,
    max_depth: float = float("inf"),
    max_jump: float = 0.02,
) -> DepthRays:
    """Rays through random pixels of some of the depth images, with the surface that each of them saw.

    Args:
        depths: z-depth in metres, shape (F, H, W).
        intrinsics: fx, fy, cx, cy in pixels, shape (F, 4).
        poses: camera-to-world, shape (F, 3 or 4, 4).
        frames: images to draw from, shape (n,).
        per_frame, generator, min_depth, max_depth: as in draw_pixels.
        max_jump: as in depth_normals.
    """
    frames, rows, columns = draw_pixels(depths, frames, per_frame, generator, min_depth=min_depth, max_depth=max_depth)
    origins, directions, stretch = pixel_rays(rows, columns, intrinsics[frames], poses[frames])
    normals = depth_normals(depths, frames, rows, columns, intrinsics[frames], max_jump=max_jump)
    normals = (poses[frames][:, :3, :3] * normals[:, None, :]).sum(dim=-1)
    return DepthRays(origins, directions, stretch * depths[frames, rows, columns], normals, frames)


def sample_depth_rays(
    distances: Tensor,
    generator: torch.Generator | None = None,
    *,
    near: float = 0.07,
    beyond: float = 0.1,
    num_near_surface: int = 7,
    spread: float = 0.1,
    num_stratified: int = 19,
) -> Tensor:
    """Where rays are sampled: distances in metres, shape (R, 1 + num_near_surface + num_stratified).

    Column 0 is the surface itself, then come samples of a normal law around it (of a surface nearer than a few spreads
    some would lie behind the camera: they move to it), then one sample uniform in each of equally long parts of [near,
    distance + beyond].

    Args:
        distances: of the surface along each ray, shape (R,), metres.
        generator: of the draws; its device decides where they are made.
        near, beyond: ends of the stratified samples, metres; `near` is at most the distance.
        num_near_surface, spread: number and standard deviation (metres) of the samples around the surface.
        num_stratified: number of stratified samples.
    """
    device = generator.device if generator is not None else distances.device
    options = {"generator": generator, "device": device, "dtype": distances.dtype}
    around = torch.randn(len(distances), num_near_surface, **options).to(distances.device)
    place = torch.rand(len(distances), num_stratified, **options).to(distances.device)
    surface = distances[:, None]
    start = surface.clamp_max(near)
    part = torch.arange(num_stratified, dtype=distances.dtype, device=distances.device) + place
    stratified = start + (surface + beyond - start) * (part / max(num_stratified, 1))
    return torch.cat([surface, (surface + spread * around).clamp_min(0.0), stratified], dim=-1)
