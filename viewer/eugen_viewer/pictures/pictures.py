"""Rays of a view through one run or two, and their outputs as a picture."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.utils import colormaps
from torch import Tensor

from eugen_fields.models.radiance import RadianceModelConfig
from eugen_fields.runs.render import render_chunks
from eugen_fields.sampling import intersect_box
from eugen_viewer.opened import Shown, scene_from_view
from eugen_viewer.pictures.cameras import View
from eugen_viewer.pictures.photo_error import is_projectable, paint_error, photo_error
from eugen_viewer.pictures.photos import Photos

MODES = ("rgb", "depth", "normals", "accumulation")
ERROR = "error to the nearest photo"
"""A further mode, where there are photos."""
_LINE = 2
"""Width of the line between two runs in a picture of 512 rows, pixels."""


@dataclass(frozen=True)
class Look:
    """The settings of what is shown."""

    mode: str = "rgb"
    split: float = 0.5
    """Where the second run begins, as a share of the width."""
    crop: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    """Lower and upper corner of the crop box, outside of which nothing is shown; None: everything is shown."""


@dataclass(frozen=True)
class Picture:
    """A finished render."""

    outputs: dict[str, Tensor]
    """Outputs of the model by name, each (height, width, channels), on the CPU; depth along unit rays of the frame."""
    rays: RayBundle
    """Rays that were rendered, shape (height, width)."""
    seconds: float

    @property
    def height(self) -> int:
        return self.rays.shape[0]

    @property
    def width(self) -> int:
        return self.rays.shape[1]


def render(shown: Sequence[Shown], view: View, look: Look, height: int, chunk: int) -> Generator[None, None, Picture]:
    """Renders one view in steps of about `chunk` rays; the picture is what the generator returns."""
    start = time.perf_counter()
    rays = view.camera(height).generate_rays(0, keep_shape=True)
    if look.crop is not None:
        box = torch.tensor(look.crop)
        flat = rays.flatten()
        nears, fars = intersect_box(flat.origins, flat.directions, box)
        rays.nears, rays.fars = nears.clamp(min=0.0).view(*rays.shape, 1), fars.view(*rays.shape, 1)
    width = rays.shape[1]
    border = width if len(shown) == 1 else round(look.split * width)
    parts: list[dict[str, Tensor]] = []
    for one, first, last in ((shown[0], 0, border), (shown[-1], border, width)):
        if first == last:
            continue
        part, scale = _in_frame(rays[:, first:last], shown[0], one)
        outputs = []
        chunks = render_chunks(one.model, part, chunk)
        while True:
            if isinstance(one.model.config, RadianceModelConfig):  # anew each time: others render in between
                one.model.config.output_normals = look.mode == "normals"
            output = next(chunks, None)
            if output is None:
                break
            outputs.append({name: value.float().cpu() for name, value in output.items()})
            yield
        joined = {
            name: torch.cat([output[name] for output in outputs]).view(height, last - first, -1) for name in outputs[0]
        }
        joined["depth"] = joined["depth"] / scale
        parts.append(joined)
    names = set.intersection(*(set(part) for part in parts))
    outputs = {name: torch.cat([part[name] for part in parts], dim=1) for name in names}
    return Picture(outputs, rays, time.perf_counter() - start)


def _in_frame(rays: RayBundle, first: Shown, other: Shown) -> tuple[RayBundle, float]:
    """Rays of the first run's frame in that of another, and the factor by which lengths grow."""
    if other.run.world_from_scene.equal(first.run.world_from_scene):
        return rays, 1.0
    matrix = scene_from_view(first.run, other.run)
    scale = float(matrix[:3, 0].norm())
    moved = replace(
        rays,
        origins=rays.origins @ matrix[:3, :3].T + matrix[:3, 3],
        directions=rays.directions @ matrix[:3, :3].T / scale,
    )
    if rays.nears is not None and rays.fars is not None:
        moved.nears, moved.fars = rays.nears * scale, rays.fars * scale
    return moved, scale


def paint(picture: Picture, look: Look, num_runs: int, view: View, photos: Photos | None = None) -> np.ndarray:
    """The picture of a view in the chosen mode, uint8, shape (height, width, 3)."""
    outputs = picture.outputs
    if look.mode == ERROR and photos is not None:
        image = _against_photo(picture, view, photos)
    elif look.mode == "depth":
        image = paint_depth(outputs["depth"], outputs["accumulation"])
    elif look.mode == "accumulation":
        image = colormaps.apply_colormap(outputs["accumulation"], colormaps.ColormapOptions("viridis"))
    elif look.mode == "normals":
        alpha = outputs["accumulation"]
        image = alpha * outputs["normals"] + (1.0 - alpha)
    else:
        image = outputs["rgb"]
    pixels = (image.clamp(0.0, 1.0) * 255).round().byte().numpy()
    if num_runs > 1:
        border = round(look.split * picture.width)
        half = max(1, round(_LINE * picture.height / 512)) / 2
        pixels[:, max(0, int(border - half)) : int(border + half + 0.5)] = (40, 40, 40)
    return pixels


def _against_photo(picture: Picture, view: View, photos: Photos) -> Tensor:
    """The difference to the nearest photo in colours, (height, width, 3)."""
    index = photos.nearest(view)
    photo, camera = photos.image(index, 800), photos.cameras[index]
    color = picture.outputs["rgb"]
    if photo is None or not is_projectable(camera):
        return paint_error(color[..., 0], torch.zeros_like(color[..., 0], dtype=torch.bool))
    points = picture.rays.origins + picture.outputs["depth"] * picture.rays.directions
    return paint_error(*photo_error(color, points, camera, torch.tensor(photo).float() / 255))


def paint_depth(depth: Tensor, accumulation: Tensor) -> Tensor:
    """Depth (height, width, 1) in colours between the nearest and the farthest that is visible, on white."""
    visible = accumulation[..., 0] > 0.5
    if not bool(visible.any()):
        return torch.ones(*depth.shape[:2], 3)
    low, high = torch.quantile(
        depth[..., 0][visible][:: max(1, int(visible.sum()) // 4096)], torch.tensor([0.02, 0.98])
    )
    share = ((depth - low) / (high - low).clamp(min=1e-6)).clamp(0.0, 1.0)
    colors = colormaps.apply_colormap(share, colormaps.ColormapOptions("turbo"))
    alpha = accumulation.clamp(0.0, 1.0)
    return alpha * colors + (1.0 - alpha)


def plane_depth(picture: Picture) -> np.ndarray:
    """Depth along the optical axis, (height, width), to hide what lies behind; far away where nothing is visible."""
    axis = picture.rays.directions[picture.height // 2, picture.width // 2]
    along = (picture.rays.directions * axis).sum(dim=-1, keepdim=True)
    depth = torch.where(picture.outputs["accumulation"] > 0.5, picture.outputs["depth"] * along, torch.tensor(1e3))
    return depth[..., 0].numpy()
