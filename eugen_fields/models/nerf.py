"""NeRF with a single network and an occupancy grid, as a nerfstudio model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.model_components import renderers
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils import colormaps
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn

from eugen_fields.fields import NeRFField, RadianceField, VanillaField
from eugen_fields.layers import layer_options
from eugen_fields.models.metrics import image_metrics, psnr
from eugen_fields.models.viewer_start import StartAtTrainingPose
from eugen_fields.sampling import OccupancyGrid, PackedSamples, accumulate, intersect_box, render_weights, sample_rays

BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}


@dataclass
class NeRFModelConfig(ModelConfig):
    """NeRF whose hidden layers are dense, EUGen, PRP, low-rank or SNNK."""

    _target: type = field(default_factory=lambda: NeRFModel)
    layer: Literal["dense", "eugen", "prp", "low-rank", "snnk"] = "eugen"
    """Kind of the replaced hidden layers; the others are dense."""
    replace: tuple[int, ...] | None = None
    """Indices of the trunk layers to replace (0 is the first). None: every hidden layer but the first."""
    num_features: int = 64
    """EUGen: random features per order (m). SNNK: random features."""
    order: Literal[1, 2, 3, 4] = 1
    """EUGen: highest order (k). Orders above 1 multiply projections: replace only a few layers with them."""
    feature_activation: Literal["relu", "gelu", "silu", "softplus", "sine", "tanh", "identity"] = "relu"
    """EUGen: activation of the input features."""
    norm: bool = True
    """EUGen: append the norm of the input as a further column."""
    share_projections: bool = False
    """EUGen: one projection for all orders."""
    train_projections: bool = True
    """EUGen, SNNK: train the projections. False keeps them as drawn and out of the checkpoint."""
    init: Literal["gaussian", "rademacher", "orthogonal"] = "orthogonal"
    """EUGen: how the projections are drawn."""
    projection_bias: bool = False
    """EUGen: a bias for every projection."""
    matrix: Literal["gaussian", "ternary", "orthogonal", "hadamard"] = "orthogonal"
    """PRP: the fixed random matrix."""
    rank: int = 0
    """PRP: rank of an extra low-rank term (0: none). Low-rank: the rank (0: as many as num-features)."""

    architecture: Literal["nerf", "vanilla"] = "nerf"
    """vanilla: the network of nerfstudio's vanilla-nerf, as eugen-transfer writes it; its sizes are fixed."""
    num_layers: int = 8
    """Hidden layers of the trunk."""
    layer_width: int = 256
    """Width of the hidden layers."""
    feature_dim: int = 256
    """Length of the feature vector from the trunk to the colour head."""
    color_width: int = 128
    """Width of the colour head."""
    position_frequencies: int = 10
    """Octaves of the encoding of positions."""
    direction_frequencies: int = 4
    """Octaves of the encoding of directions."""
    skip_connections: tuple[int, ...] = (4,)
    """Trunk layers that see the encoded position again."""

    background: Literal["random", "white", "black"] = "random"
    """Background of training images with alpha. random gives clean densities; for images without alpha take
    white or black."""
    eval_background: Literal["white", "black"] = "white"
    """Background of renders and of test images with alpha."""
    samples_per_diagonal: int = 1024
    """Samples a ray would get on the diagonal of the scene box: sets the step size."""
    near_plane: float = 0.05
    """Nothing nearer to a camera than this is rendered (scene units)."""
    grid_resolution: int = 128
    """Cells of the occupancy grid along each axis."""
    grid_update_interval: int = 16
    """Steps between updates of the occupancy grid."""
    grid_warmup_steps: int = 256
    """Steps before anything is taken to be empty."""
    grid_update_cells: int = 1 << 19
    """Cells visited in one update."""
    grid_min_opacity: float = 0.01
    """A cell is empty below this opacity of one step."""
    stop_transmittance: float = 1e-3
    """Rays are followed in evaluation until less light than this is left."""
    eval_num_rays_per_chunk: int = 16384
    """Rays rendered at once in evaluation."""
    eval_num_samples_per_chunk: int = 1 << 17
    """Samples evaluated at once in evaluation."""
    enable_collider: bool = False
    """The scene box bounds rays; nerfstudio's colliders are not used."""
    output_normals: bool = True
    """Render normals in evaluation (the density gradient at the expected depth)."""

    def field_options(self) -> dict[str, Any]:
        """Keyword arguments of NeRFField for these flags. Raises ValueError where a flag is out of range."""
        options = {name: getattr(self, name) for name in layer_options(self.layer) if hasattr(self, name)}
        if self.layer == "low-rank" and self.rank == 0:
            options["rank"] = self.num_features
        shape = (
            "layer",
            "replace",
            "num_layers",
            "layer_width",
            "feature_dim",
            "color_width",
            "position_frequencies",
            "direction_frequencies",
            "skip_connections",
        )
        for name in ("num_layers", "layer_width", "feature_dim", "color_width", "samples_per_diagonal"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a positive integer")
        if self.grid_resolution < 2:
            raise ValueError(f"grid_resolution is {self.grid_resolution}; it must be at least 2")
        if self.architecture == "vanilla":
            shape = ("layer", "replace")
        return {name: getattr(self, name) for name in shape} | options

    def build_field(self, aabb: Tensor) -> RadianceField:
        """The untrained field on a scene box, shape (2, 3). Raises ValueError where a flag is out of range."""
        field_class = VanillaField if self.architecture == "vanilla" else NeRFField
        return field_class(aabb, **self.field_options())


class NeRFModel(Model):
    """One field, one occupancy grid; works on every device."""

    config: NeRFModelConfig

    def populate_modules(self) -> None:
        super().populate_modules()
        aabb = self.scene_box.aabb.float().cpu()
        self.field = self.config.build_field(aabb)
        self.step_size = float((aabb[1] - aabb[0]).norm()) / self.config.samples_per_diagonal
        self.grid = OccupancyGrid(
            aabb, self.config.grid_resolution, self.step_size, min_opacity=self.config.grid_min_opacity
        )
        self.start_camera = StartAtTrainingPose()
        self._render_field: RadianceField | None = None
        self.last_batch_psnr = float("nan")
        self.grid_was_reset = False

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"fields": list(self.field.parameters())}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        return [
            TrainingCallback(
                where_to_run=[TrainingCallbackLocation.AFTER_TRAIN_ITERATION],
                update_every_num_iters=self.config.grid_update_interval,
                func=self.update_grid,
            )
        ]

    @torch.no_grad()
    def update_grid(self, step: int) -> None:
        """Refreshes the occupancy grid; the same on every process of a distributed run."""
        if step < self.config.grid_warmup_steps:
            return
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
            self.grid_was_reset = True
            CONSOLE.print(f"step {step}: the occupancy grid was empty; all of the scene box is sampled again.")

    def _density(self, positions: Tensor) -> Tensor:
        """Densities (N,) at positions (N, 3), in chunks, without gradient."""
        chunks = positions.split(self.config.eval_num_samples_per_chunk)
        return torch.cat([self.field.density(chunk)[0] for chunk in chunks])

    def _ray_limits(self, ray_bundle: RayBundle) -> tuple[Tensor, Tensor]:
        """Near and far (R,): the box around occupied cells, within nears and fars that the bundle brings along."""
        near, far = intersect_box(ray_bundle.origins, ray_bundle.directions, self.grid.bounds)
        near = near.clamp(min=self.config.near_plane)
        if ray_bundle.nears is not None and ray_bundle.fars is not None:
            near = torch.maximum(near, ray_bundle.nears[..., 0])
            far = torch.minimum(far, ray_bundle.fars[..., 0])
        return near, far

    def eval_background(self) -> Tensor:
        """RGB (3,) behind renders; the viewer's crop tool overrides it."""
        override = renderers.BACKGROUND_COLOR_OVERRIDE
        if override is not None:
            return override.to(self.device)
        return torch.tensor(BACKGROUNDS[self.config.eval_background], device=self.device)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # type: ignore[override]
        shape = ray_bundle.origins.shape[:-1]
        ray_bundle = ray_bundle.flatten()
        outputs = self._train_outputs(ray_bundle) if self.training else self._eval_outputs(ray_bundle)
        return {name: value.view(*shape, -1) if value.dim() else value for name, value in outputs.items()}

    def _train_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        origins, directions = ray_bundle.origins, ray_bundle.directions
        near, far = self._ray_limits(ray_bundle)
        samples = sample_rays(origins, directions, near, far, self.step_size, self.grid, stratified=True)
        density, color = self._evaluate(self.field, origins, directions, samples)
        weights = render_weights(density, samples)
        accumulation = accumulate(weights, None, samples)
        if self.config.background == "random":
            background = torch.rand_like(origins)
        else:
            background = torch.tensor(BACKGROUNDS[self.config.background], device=self.device).expand_as(origins)
        return {
            "rgb": accumulate(weights, color, samples) + (1.0 - accumulation) * background,
            "accumulation": accumulation,
            "background": background,
            "num_samples": torch.tensor(len(samples)),
        }

    def _evaluate(
        self, field: RadianceField, origins: Tensor, directions: Tensor, samples: PackedSamples
    ) -> tuple[Tensor, Tensor]:
        """Density (N,) and colour (N, 3) of samples on rays with origins and directions (R, 3)."""
        ray_directions = directions[samples.ray_indices]
        positions = origins[samples.ray_indices] + samples.distances[:, None] * ray_directions
        if self.training:
            return field(positions, ray_directions)
        size = self.config.eval_num_samples_per_chunk
        pairs = [field(*chunk) for chunk in zip(positions.split(size), ray_directions.split(size))]
        if not pairs:
            return positions.new_zeros(0), positions.new_zeros(0, 3)
        density, color = zip(*pairs)
        return torch.cat(density), torch.cat(color)

    def _eval_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Follows rays block by block and stops where no light is left."""
        field = self._render_field or self.field
        origins, directions = ray_bundle.origins, ray_bundle.directions
        near, far = self._ray_limits(ray_bundle)
        rgb, depth = torch.zeros_like(origins), torch.zeros_like(origins[:, :1])
        accumulation = torch.zeros_like(depth)
        block = 32 * self.step_size
        alive = (near < far).nonzero()[:, 0]
        while len(alive) > 0:
            start, end = near[alive], torch.minimum(near[alive] + block, far[alive])
            samples = sample_rays(
                origins[alive], directions[alive], start, end, self.step_size, self.grid, stratified=False
            )
            density, color = self._evaluate(field, origins[alive], directions[alive], samples)
            left = 1.0 - accumulation[alive]
            weights = render_weights(density, samples) * left[samples.ray_indices, 0]
            rgb[alive] += accumulate(weights, color, samples)
            depth[alive] += accumulate(weights, samples.distances[:, None], samples)
            accumulation[alive] += accumulate(weights, None, samples)
            near[alive] += block
            going_on = (near[alive] < far[alive]) & (1.0 - accumulation[alive, 0] > self.config.stop_transmittance)
            alive = alive[going_on]
        visible = accumulation > 1e-4
        distance = torch.where(visible, depth / accumulation.clamp(min=1e-10), far.clamp(min=0.0)[:, None])
        outputs = {
            "rgb": (rgb + (1.0 - accumulation) * self.eval_background()).clamp(0.0, 1.0),
            "accumulation": accumulation.clamp(0.0, 1.0),
            "depth": distance,
        }
        if self.config.output_normals:
            outputs["normals"] = self._normals(origins + distance * directions, visible[:, 0])
        return outputs

    def _normals(self, points: Tensor, visible: Tensor) -> Tensor:
        """Normals (R, 3) mapped to [0, 1], against the density gradient; 0.5 where nothing is visible."""
        normals = torch.zeros_like(points)
        for chunk in visible.nonzero()[:, 0].split(self.config.eval_num_samples_per_chunk):
            with torch.enable_grad():
                places = points[chunk].detach().requires_grad_(True)
                density = self.field.density(places)[0]
                (gradient,) = torch.autograd.grad(density.sum(), places)
            normals[chunk] = -F.normalize(gradient, dim=-1)
        return (normals + 1.0) / 2.0

    @torch.no_grad()
    def get_outputs_for_camera_ray_bundle(self, camera_ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Renders with the folded network (same image to rounding, fewer multiplications)."""
        self._render_field = self.field.folded()
        try:
            return super().get_outputs_for_camera_ray_bundle(camera_ray_bundle)
        finally:
            self._render_field = None

    def blend(self, image: Tensor, background: Tensor) -> Tensor:
        """An RGBA image (..., 4) with straight alpha over a background; RGB images (..., 3) pass through."""
        if image.shape[-1] == 3:
            return image
        return image[..., :3] * image[..., 3:] + (1.0 - image[..., 3:]) * background

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        truth = self.blend(batch["image"].to(self.device), outputs.get("background", self.eval_background()))
        metrics = {"psnr": psnr(outputs["rgb"].detach(), truth)}
        self.last_batch_psnr = float(metrics["psnr"])
        if "num_samples" in outputs:
            metrics["num_samples_per_batch"] = outputs["num_samples"]
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
