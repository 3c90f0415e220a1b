"""NeRF with a single network and an occupancy grid, as a nerfstudio model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from eugen_fields.fields import ConeRadianceField, Field, NeRFField, RadianceField, VanillaField
from eugen_fields.models.radiance import RadianceModel, RadianceModelConfig, cone_radius
from eugen_fields.models.viewer_start import SmallFramesOnCPU
from eugen_fields.sampling import (
    VISIBLE,
    OccupancyGrid,
    PackedSamples,
    accumulate,
    evaluate_chunks,
    evaluate_cone_chunks,
    follow_rays,
    intersect_box,
    render_weights,
    sample_rays,
)


@dataclass
class NeRFModelConfig(RadianceModelConfig):
    """NeRF whose hidden layers are dense, EUGen, residual EUGen, PRP, low-rank or SNNK."""

    _target: type = field(default_factory=lambda: NeRFModel)
    architecture: Literal["nerf", "vanilla"] = "nerf"
    """Network of the field. nerf: its sizes are the options below. vanilla: the network of nerfstudio's vanilla-nerf,
    as eugen-transfer writes it; its sizes are fixed."""
    num_layers: int = 8
    """Number of hidden layers of the trunk."""
    layer_width: int = 256
    """Width of the hidden layers; eugen-residual has num-features in its place."""
    feature_dim: int = 256
    """Length of the feature vector from the trunk to the colour head."""
    color_width: int = 128
    """Width of the colour head."""
    position_frequencies: int = 10
    """Octaves of the frequency encoding of positions."""
    direction_frequencies: int = 4
    """Octaves of the frequency encoding of viewing directions."""
    skip_connections: tuple[int, ...] = (4,)
    """Trunk layers that read the encoded position again; those of eugen-residual do in any case."""

    stop_transmittance: float = 1e-3
    """Transmittance at which rays end in evaluation."""
    eval_num_rays_per_chunk: int = 16384
    """Rays rendered at once in evaluation."""

    def field_options(self) -> dict[str, Any]:
        """Keyword arguments of NeRFField for these flags. Raises ValueError where a flag is out of range."""
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
        for name in ("num_layers", "layer_width", "feature_dim", "color_width"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a positive integer")
        if self.architecture == "vanilla":
            shape = ("layer", "replace")
        return {name: getattr(self, name) for name in shape} | self.layer_settings()

    def build_field(self, aabb: Tensor, num_images: int = 1) -> RadianceField:
        field_class = VanillaField if self.architecture == "vanilla" else NeRFField
        return field_class(aabb, **self.field_options()).use_backend(self.backend)

    def max_samples_per_ray(self) -> int:
        return self.samples_per_diagonal


class NeRFModel(RadianceModel):
    """One field, one occupancy grid; works on every device."""

    config: NeRFModelConfig
    grid: OccupancyGrid

    def populate_modules(self) -> None:
        super().populate_modules()
        aabb = self.scene_box.aabb.float().cpu()
        self.field = self.config.build_field(aabb)
        self.step_size = self.config.step_size(aabb)
        self.grid = self.config.build_grid(aabb)
        self.small_frames = SmallFramesOnCPU(256)

    def ray_limits(self, ray_bundle: RayBundle) -> tuple[Tensor, Tensor]:
        """Near and far (R,): the box around occupied cells, within nears and fars that the bundle brings along."""
        near, far = intersect_box(ray_bundle.origins, ray_bundle.directions, self.grid.bounds)
        return self._cut_limits(ray_bundle, near, far)

    def _train_samples(self, ray_bundle: RayBundle) -> PackedSamples:
        """Samples of training rays (R,), where the grid is occupied."""
        near, far = self.ray_limits(ray_bundle)
        origins, directions = ray_bundle.origins, ray_bundle.directions
        return sample_rays(origins, directions, near, far, self.step_size, self.grid, stratified=True)

    @torch.no_grad()
    def trunk_inputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        samples = self._train_samples(ray_bundle)
        along = samples.distances[:, None] * ray_bundle.directions[samples.ray_indices]
        return {"field": self.field.encode(ray_bundle.origins[samples.ray_indices] + along)}

    def _train_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        origins, directions = ray_bundle.origins, ray_bundle.directions
        samples = self._train_samples(ray_bundle)
        density, color = self._evaluate(self.field, origins, directions, samples)
        weights = render_weights(density, samples)
        accumulation = accumulate(weights, None, samples)
        background = self._train_background(origins)
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
        if not self.training:
            return evaluate_chunks(field, origins, directions, samples, self.config.eval_num_samples_per_chunk)
        ray_directions = directions[samples.ray_indices]
        return field(origins[samples.ray_indices] + samples.distances[:, None] * ray_directions, ray_directions)

    def _eval_outputs(self, ray_bundle: RayBundle, networks: Mapping[str, Field]) -> dict[str, Tensor]:
        field = networks["field"]
        assert isinstance(field, RadianceField)
        origins, directions = ray_bundle.origins, ray_bundle.directions
        near, far = self.ray_limits(ray_bundle)
        radius, evaluate = None, partial(self._evaluate, field)
        if isinstance(field, ConeRadianceField):  # of a field file: training follows rays that are no cones
            radius = cone_radius(ray_bundle)
            evaluate = partial(evaluate_cone_chunks, field, chunk_size=self.config.eval_num_samples_per_chunk)
        composite = follow_rays(
            origins,
            directions,
            near,
            far,
            self.step_size,
            self.grid,
            evaluate,
            radius=radius,
            stop_transmittance=self.config.stop_transmittance,
        )
        outputs = composite.over(self.eval_background(), far)
        if self.config.output_normals:
            points = origins + outputs["depth"] * directions
            outputs["normals"] = self._normals(points, composite.accumulation[:, 0] > VISIBLE)
        return outputs
