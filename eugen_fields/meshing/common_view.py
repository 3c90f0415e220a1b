"""The box of what most cameras of a capture look at: its surfaces, as the trained field shows them to the cameras."""

from __future__ import annotations

import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from eugen_fields.errors import InputError
from eugen_fields.layers.layer import in_double
from eugen_fields.runs import RadianceRun, Run, build_model, read_config, render_chunks
from eugen_fields.runs.scene_data import read_scene_data

_CAMERAS, _RAYS = 64, 16
"""Most cameras that are asked, and rays along each side of their pictures."""
_RAYS_AT_ONCE = 4096
_MOST = 0.7
"""Share of the cameras that see the best-seen place, from which a place counts as seen by most."""
_FEWEST_POINTS = 64
_OUTLIERS = 0.02
"""Share of the points that may lie outside on each side of the box: floaters, and edges between near and far."""
_MARGIN = 0.05


def common_view(run: Run, frame_from_scene: Tensor) -> Tensor | None:
    """The box along the axes of a frame that holds the surfaces which most cameras of a run have in their pictures.

    Every training camera (64 of them, evenly spread, where there are more) sends rays through a lattice of pixels. The
    places where they end count if they lie in the pictures of at least 70 per cent as many cameras as the best-seen
    place does, whatever may stand in between. The box is theirs, but for two per cent of them on each side, and 5 per
    cent larger.

    Args:
        run: open, its data still there.
        frame_from_scene: to the frame, shape (4, 4), float64.

    Returns:
        shape (2, 3), float64; None where the cameras are not known, are not perspective or see no surface.
    """
    if not isinstance(run, RadianceRun) or not (run.folder / "config.yml").is_file():
        return None
    try:
        cameras = read_scene_data(run.folder, read_config(run.folder / "config.yml"), "train").cameras
        chosen = torch.linspace(0, len(cameras) - 1, min(_CAMERAS, len(cameras))).round().long()
        cameras = cameras[chosen]
        if bool((torch.as_tensor(cameras.camera_type) != CameraType.PERSPECTIVE.value).any()):
            return None
        points = _seen_points(run, cameras)
    except InputError:
        return None
    counts = seen_by(cameras, points)
    if len(points) < _FEWEST_POINTS:
        return None
    common = in_double(points[counts >= _MOST * counts.max()])
    if len(common) < _FEWEST_POINTS:
        return None
    common = common @ frame_from_scene[:3, :3].T + frame_from_scene[:3, 3]
    low, high = torch.quantile(common, torch.tensor([_OUTLIERS, 1.0 - _OUTLIERS], dtype=torch.float64), dim=0)
    margin = _MARGIN * (high - low).max()
    return torch.stack([low - margin, high + margin])


def _seen_points(run: RadianceRun, cameras: Cameras) -> Tensor:
    """Where rays of the cameras end on something, shape (N, 3), on the CPU."""
    model = build_model(run)
    part = (torch.arange(_RAYS) + 0.5) / _RAYS
    places = torch.stack(torch.meshgrid(part, part, indexing="ij"), dim=-1).reshape(-1, 2)
    found = []
    for index in range(len(cameras)):
        size = torch.tensor([float(cameras.height[index]), float(cameras.width[index])])  # type: ignore[index]
        rays = cameras.generate_rays(
            camera_indices=torch.full((len(places), 1), index), coords=places * size, keep_shape=True
        )
        for start, outputs in enumerate(render_chunks(model, rays, _RAYS_AT_ONCE)):
            chunk = rays[start * _RAYS_AT_ONCE : (start + 1) * _RAYS_AT_ONCE]
            depth, opacity = outputs["depth"].cpu(), outputs["accumulation"].cpu()
            solid = (opacity[:, 0] > 0.5) & depth[:, 0].isfinite()
            found.append((chunk.origins.cpu() + depth * chunk.directions.cpu())[solid])
    return torch.cat(found)


def seen_by(cameras: Cameras, points: Tensor) -> Tensor:
    """In how many pictures each of the points (N, 3) lies, (N,): in front of the camera and within its sides, lens
    distortion and what stands in between aside."""
    counts = torch.zeros(len(points), dtype=torch.int64)
    for index in range(len(cameras)):
        pose = cameras.camera_to_worlds[index]
        x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
        across, down = cameras.fx[index] * x / -z + cameras.cx[index], cameras.fy[index] * y / z + cameras.cy[index]
        inside = (across >= 0) & (across <= cameras.width[index]) & (down >= 0) & (down <= cameras.height[index])
        counts += (z < 0) & inside
    return counts
