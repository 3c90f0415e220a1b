"""What every radiance-field model of ours shares: flags of the layers, backgrounds, losses, metrics and renders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components import renderers
from nerfstudio.models.base_model import Model
from nerfstudio.utils import colormaps
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn

from eugen_fields.fields import Field, RadianceField
from eugen_fields.models.field_model import FieldModelConfig, render_in_chunks
from eugen_fields.models.metrics import image_metrics, psnr
from eugen_fields.models.viewer_start import StartAtTrainingPose
from eugen_fields.sampling import OccupancyGrid, density_normals


def explained_share(rgb: Tensor, truth: Tensor, image: Tensor, background: Tensor | None) -> Tensor:
    """What share of the colours a batch of rays explains: 1 where all is right, 0 for a field that shows nothing.

    The squared error is set against that of the background alone where the images (R, 4) have alpha, on rays that meet
    something, and else against that of the mean colour.

    Args:
        rgb, truth: colours, shape (R, 3).
        image: what the images have, shape (R, 3 or 4).
        background: colours behind the rays, shape (R, 3).

    Returns:
        a scalar; negative where the field is worse than nothing. 1 where the batch has nothing to explain.
    """
    if image.shape[-1] == 4 and background is not None:
        weight, nothing = (image[..., 3:].to(rgb) > 0.5).to(rgb), background
    else:
        weight, nothing = torch.ones_like(rgb[..., :1]), truth.mean(dim=0)
    error = (weight * (rgb - truth).square()).sum()
    reference = (weight * (nothing - truth).square()).sum()
    return torch.where(reference > 0, 1.0 - error / reference.clamp(min=1e-12), torch.ones_like(error))


_NO_CAMERA_AREA = 0.5
"""No camera's pixel has this area at distance 1: nerfstudio's texture exporter sets 1 for rays without a camera."""


def cone_radius(ray_bundle: RayBundle) -> Tensor:
    """Radius at distance 1 of the cones of rays (R,), shape (R, 1): that of the disc that has the variance of the pixel
    (Mip-NeRF, section 3.1)."""
    area = ray_bundle.pixel_area
    return torch.where(area < _NO_CAMERA_AREA, area / 3.0, torch.zeros_like(area)).sqrt()


BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


@dataclass
class RadianceModelConfig(FieldModelConfig):
    """Options of the replaced layers, the occupancy grid and the backgrounds."""

    background: Literal["random", "white", "black"] = "random"
    """Background of training images with alpha. random gives clean densities; for images without alpha choose
    white or black."""
    eval_background: Literal["white", "black"] = "white"
    """Background of renders and of test images with alpha."""
    near_plane: float = 0.05
    """Distance from a camera at which rays begin (scene units)."""
    output_normals: bool = True
    """Render normals in evaluation: the negative density gradient at the rendered depth."""
    samples_per_diagonal: int = 1024
    """Samples per ray along the diagonal of the scene box; sets the step size."""
    grid_resolution: int = 128
    """Cells of the occupancy grid along each axis."""
    grid_update_interval: int = 16
    """Training steps between updates of the occupancy grid."""
    grid_warmup_steps: int = 256
    """Training steps before the occupancy grid marks any cell as empty."""
    grid_update_cells: int = 1 << 19
    """Cells of the occupancy grid visited per update."""
    visual_hull: bool = True
    """Keep the occupancy grid within the visual hull: the cells that the alpha of the training images leaves. It takes
    effect where all images have alpha and undistorted perspective cameras. False: all of the scene box."""
    grid_min_opacity: float = 0.01
    """Opacity per sample below which a cell of the occupancy grid is empty."""
    eval_num_samples_per_chunk: int = 1 << 17
    """Samples evaluated at once in evaluation."""

    def check_flags(self) -> None:
        """Builds the networks once. Raises ValueError where a flag is out of range."""
        if self.samples_per_diagonal <= 0:
            raise ValueError(f"samples_per_diagonal is {self.samples_per_diagonal}; it must be a positive integer")
        if self.grid_resolution < 2:
            raise ValueError(f"grid_resolution is {self.grid_resolution}; it must be at least 2")
        self.check_dense_start()
        self.build_field(torch.tensor([[-1.0] * 3, [1.0] * 3]))

    def build_field(self, aabb: Tensor, num_images: int = 1) -> RadianceField:
        raise NotImplementedError

    def build_grid(self, aabb: Tensor) -> OccupancyGrid:
        """A grid for where the field on a scene box, shape (2, 3), has density; everything is occupied yet."""
        return OccupancyGrid(aabb, self.grid_resolution, self.step_size(aabb), min_opacity=self.grid_min_opacity)

    def step_size(self, aabb: Tensor) -> float:
        """Length of ray per sample, scene units, for even samples through the scene box, shape (2, 3)."""
        return float((aabb[1] - aabb[0]).norm()) / self.samples_per_diagonal

    def max_samples_per_ray(self) -> int:
        """Samples per ray where nothing is known to be empty."""
        raise NotImplementedError


class RadianceModel(Model):
    """A field that is rendered against images. Subclasses build `field` and, where the scene box holds everything,
    `grid`, and render rays."""

    config: RadianceModelConfig
    field: RadianceField
    grid: OccupancyGrid | None

    def populate_modules(self) -> None:
        super().populate_modules()
        self.start_camera = StartAtTrainingPose()
        self._colors: dict[str, Tensor] = {}

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"fields": list(self.field.parameters())}

    @torch.no_grad()
    def update_grid(self, step: int) -> bool:
        """Refreshes the occupancy grid; the same on every process of a distributed run.

        Returns:
            whether the grid had become empty, and was reset: all of the scene box counts as occupied again.
        """
        assert self.grid is not None
        if step < self.config.grid_warmup_steps:
            return False
        first = step < self.config.grid_warmup_steps + self.config.grid_update_interval
        max_cells = self.grid.density.numel() if first else self.config.grid_update_cells
        generator = torch.Generator(self.device).manual_seed(step)
        was_empty = self.grid.update(self._density, max_cells, generator)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for buffer in (self.grid.density, self.grid.bounds):
                torch.distributed.broadcast(buffer, src=0)
            occupied = self.grid.occupied.to(torch.uint8)
            torch.distributed.broadcast(occupied, src=0)
            self.grid.occupied.copy_(occupied.bool())
        if was_empty:
            CONSOLE.print(f"step {step}: the occupancy grid was empty; all of the scene box is sampled again.")
        return was_empty

    def _density(self, positions: Tensor) -> Tensor:
        """Densities (N,) at positions (N, 3), in chunks, without gradient."""
        chunks = positions.split(self.config.eval_num_samples_per_chunk)
        return torch.cat([self.field.density_alone(chunk) for chunk in chunks])

    def eval_background(self) -> Tensor:
        """RGB (3,) behind renders; the viewer's crop tool overrides it."""
        override = renderers.BACKGROUND_COLOR_OVERRIDE
        if override is not None:
            return override.to(self.device)
        return self._constant_color(self.config.eval_background)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # type: ignore[override]
        return self._outputs(ray_bundle, self.networks())

    @torch.no_grad()
    def get_outputs_for_camera_ray_bundle(self, camera_ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Renders with folded networks (same image to rounding, fewer multiplications)."""
        folded = {name: network.folded() for name, network in self.networks().items()}
        render = partial(self._outputs, networks=folded)
        return render_in_chunks(camera_ray_bundle, render, self.config.eval_num_rays_per_chunk, self.device)

    @contextmanager
    def without_normals(self) -> Iterator[None]:
        """Leaves normals out of renders for the time of a with statement: scores need none."""
        wanted, self.config.output_normals = self.config.output_normals, False
        try:
            yield
        finally:
            self.config.output_normals = wanted

    def networks(self) -> dict[str, Field]:
        """What rendering evaluates, by the name of its attribute."""
        return {"field": self.field}

    def trunk_inputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """What the trunk of each network reads along training rays (R,), shape (samples, encoding width), by its
        name, without gradient."""
        raise NotImplementedError

    def _outputs(self, ray_bundle: RayBundle, networks: Mapping[str, Field]) -> dict[str, Tensor]:
        """Outputs (..., channels) of rays of any shape. Evaluation takes `networks`, the model's own or their inference
        forms; training takes the model's own."""
        shape = ray_bundle.origins.shape[:-1]
        ray_bundle = ray_bundle.flatten()
        outputs = self._train_outputs(ray_bundle) if self.training else self._eval_outputs(ray_bundle, networks)
        return {name: value.view(*shape, -1) if value.dim() else value for name, value in outputs.items()}

    def _train_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Outputs (R, channels) of rays (R,) in training; scalars are statistics or losses."""
        raise NotImplementedError

    def _eval_outputs(self, ray_bundle: RayBundle, networks: Mapping[str, Field]) -> dict[str, Tensor]:
        """rgb, accumulation, depth (along unit rays) and normals of rays (R,), each (R, channels), from networks by the
        names of `networks()`."""
        raise NotImplementedError

    def _cut_limits(self, ray_bundle: RayBundle, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
        """Near and far (R,) cut by the near plane, and by nears and fars that the bundle brings along.

        A bundle may start at a surface instead of a camera (nerfstudio's texture exporter): the near plane takes no
        more than a tenth of its rays.
        """
        if ray_bundle.nears is None or ray_bundle.fars is None:
            return near.clamp(min=self.config.near_plane), far
        nears, fars = ray_bundle.nears[..., 0], ray_bundle.fars[..., 0]
        near_plane = (0.1 * fars).clamp(max=self.config.near_plane)
        return torch.maximum(torch.maximum(near, near_plane), nears), torch.minimum(far, fars)

    def _train_background(self, origins: Tensor) -> Tensor:
        """RGB (R, 3) behind training rays with origins (R, 3)."""
        if self.config.background == "random":
            return torch.rand_like(origins)
        return self._constant_color(self.config.background).expand_as(origins)

    def _constant_color(self, name: str) -> Tensor:
        """RGB (3,) of BACKGROUNDS, brought to the model's device once. Not to be written to."""
        if name not in self._colors or self._colors[name].device != self.device:
            with torch.inference_mode(False):  # kept, and differentiated through by others
                self._colors[name] = torch.tensor(BACKGROUNDS[name], device=self.device)
        return self._colors[name]

    def _normals(self, points: Tensor, visible: Tensor) -> Tensor:
        """Normals (R, 3) mapped to [0, 1], against the density gradient; 0.5 where nothing is visible."""
        size = self.config.eval_num_samples_per_chunk
        return density_normals(lambda places: self.field.density(places)[0], points, visible, size)

    def blend(self, image: Tensor, background: Tensor) -> Tensor:
        """An RGBA image (..., 4) with straight alpha over a background; RGB images (..., 3) pass through."""
        if image.shape[-1] == 3:
            return image
        return image[..., :3] * image[..., 3:] + (1.0 - image[..., 3:]) * background

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        truth = self.blend(batch["image"].to(self.device), outputs.get("background", self.eval_background()))
        rgb = outputs["rgb"].detach()
        metrics = {"psnr": psnr(rgb, truth)}
        if self.training:
            metrics["explained"] = explained_share(rgb, truth, batch["image"], outputs.get("background"))
        if "num_samples" in outputs:
            metrics["num_samples_per_batch"] = outputs["num_samples"]
            if self.grid is not None:
                metrics["occupied_cells"] = self.grid.occupied.float().mean()
        return metrics

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        truth = self.blend(batch["image"].to(self.device), outputs.get("background", self.eval_background()))
        return {"rgb_loss": F.mse_loss(outputs["rgb"], truth)}

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """RGBA with straight alpha; exporters drop what has little alpha, so the background never becomes surface."""
        alpha = outputs["accumulation"]
        color = outputs[output_name] - (1.0 - alpha) * self.eval_background().to(alpha)
        return torch.cat([(color / alpha.clamp(min=1e-6)).clamp(0.0, 1.0), alpha], dim=-1)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        rgb = outputs["rgb"]
        truth = self.blend(batch["image"].to(rgb.device), self.eval_background().to(rgb.device))
        images = {
            "img": torch.cat([truth, rgb], dim=1),
            "accumulation": colormaps.apply_colormap(outputs["accumulation"]),
            "depth": colormaps.apply_depth_colormap(outputs["depth"], accumulation=outputs["accumulation"]),
        }
        return image_metrics(rgb, truth), images
