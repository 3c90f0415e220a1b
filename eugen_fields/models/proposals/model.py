"""Rendering through cones with rounds of proposals, bounded or not, as a nerfstudio model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from nerfstudio.cameras.camera_optimizers import CameraOptimizer
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from torch import Tensor, nn

from eugen_fields.fields import ConeField, ConeRadianceField, Field
from eugen_fields.models.proposals.config import ProposalModelConfig
from eugen_fields.models.radiance import RadianceModel, cone_radius
from eugen_fields.models.viewer_start import SmallFramesOnCPU
from eugen_fields.sampling import (
    Intervals,
    distortion_loss,
    interlevel_loss,
    intersect_box,
    inverse_distribution,
    march,
)

_LEAST_WEIGHT = 1e-4
"""Samples that show less have no colour in renders: together those of a ray stay below a step of 8 bits."""


class ProposalModel(RadianceModel):
    """A field and a proposal network, both seen through cones; works on every device.

    Source: "Mip-NeRF 360" (Barron et al., 2022): one proposal network for all rounds of proposals, trained by the
    interlevel loss alone (eq. 13), annealing. Where space is unbounded, distances are spread by the power
    transformation of "Zip-NeRF" (Barron et al., 2023), or in inverse depth, and gradients near cameras are scaled down
    ("Floaters No More", Philip and Deschaintre, 2023).
    """

    config: ProposalModelConfig
    field: ConeRadianceField
    camera_optimizer: CameraOptimizer

    def populate_modules(self) -> None:
        super().populate_modules()
        aabb = self.scene_box.aabb.float().cpu()
        self.field = self.config.build_field(aabb, self.num_train_data)
        self.proposal = self.config.build_proposal(aabb)
        self.camera_optimizer = self.config.camera_optimizer.setup(num_cameras=self.num_train_data, device="cpu")
        self.grid = self.config.build_grid(aabb) if self.field.bounded else None
        self.anneal_progress = 1.0
        self.small_frames = SmallFramesOnCPU(128)

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        groups = {"fields": [*self.field.parameters(), *self.proposal.parameters()]}
        self.camera_optimizer.get_param_groups(param_groups=groups)
        return groups

    def networks(self) -> dict[str, Field]:
        return {"field": self.field, "proposal": self.proposal}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        before = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
        return [TrainingCallback(before, self.anneal, update_every_num_iters=1)]

    def anneal(self, step: int) -> None:
        """Sets how far samples follow the proposals at a step."""
        self.anneal_progress = min(1.0, step / max(1, self.config.anneal_steps))

    def ray_limits(self, ray_bundle: RayBundle) -> tuple[Tensor, Tensor]:
        """Near and far (R,): between them lies all that can be seen, in bounded scenes what the grid has occupied;
        near >= far where there is nothing."""
        origins, directions = ray_bundle.origins, ray_bundle.directions
        if self.grid is None:
            near = torch.zeros_like(origins[:, 0])
            far = torch.full_like(near, self.config.far_plane)
        else:
            near, far = intersect_box(origins, directions, self.grid.bounds)
        near, far = self._cut_limits(ray_bundle, near, far)
        if self.grid is None:
            return near, far
        widest = torch.where(near < far, cone_radius(ray_bundle)[:, 0] * far.clamp(min=0.0), torch.zeros_like(far))
        # to the corners of the pixel: its half diagonal is 1.22 of the radius
        radius = 1.25 * float(widest.max()) if len(widest) else 0.0
        return self.grid.span(origins, directions, near, far, radius)

    def _farthest(self, ray_bundle: RayBundle) -> Tensor:
        """Where rays end that meet nothing, shape (R, 1): behind the scene box, or as far as its centre where they
        miss that too."""
        if self.grid is None:
            return torch.full_like(ray_bundle.origins[:, :1], self.config.far_plane)
        near, far = intersect_box(ray_bundle.origins, ray_bundle.directions, self.field.aabb)
        away = (ray_bundle.origins - self.field.aabb.mean(dim=0)).norm(dim=-1)
        return torch.where((near < far) & (far > 0.0), far, away)[:, None]

    def march(self, ray_bundle: RayBundle, networks: Mapping[str, Field]) -> Intervals:
        """Rounds of proposals, then the field, along those of the rays (R,) that meet something."""
        radius = cone_radius(ray_bundle)

        def places(rays: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
            origins, directions = ray_bundle.origins[rays], ray_bundle.directions[rays]
            return self.field.places(origins, directions, distances[:, :-1], distances[:, 1:], radius[rays])

        proposal, field = (partial(self._evaluate, networks[name]) for name in ("proposal", "field"))
        rounds = [(proposal, count) for count in self.config.setting("proposal_samples")]
        return march(
            *self.ray_limits(ray_bundle),
            places,
            [*rounds, (field, self.config.setting("num_samples"))],
            spacing="linear" if self.field.bounded else self.config.spacing,
            anneal_progress=self.anneal_progress if self.training else 1.0,
            stratified=self.training,
            scale_gradients=self.training and not self.field.bounded,
        )

    def _evaluate(self, network: Field, means: Tensor, spreads: Tensor) -> tuple[Tensor, Tensor]:
        """Densities (R, S) and features (R, S, feature width) of stretches of cones with means (R, S, 3)."""
        assert isinstance(network, ConeField)
        size = means.shape[0] * means.shape[1] if self.training else self.config.eval_num_samples_per_chunk
        chunks = zip(means.flatten(0, 1).split(size), spreads.flatten(0, 1).split(size))
        density, features = zip(*(network.density(*chunk) for chunk in chunks))
        shape = means.shape[:2]
        return torch.cat(density).view(shape), torch.cat(features).view(*shape, -1)

    def _composite(self, ray_bundle: RayBundle, intervals: Intervals, field: Field) -> tuple[Tensor, Tensor]:
        """RGB (R, 3) over nothing, and accumulation (R, 1), of all rays (R,) of the bundle."""
        assert isinstance(field, ConeRadianceField)
        num_rays, ray_bundle = len(ray_bundle), ray_bundle[intervals.rays]
        images = ray_bundle.camera_indices if self.training else None
        color = self._visible_color(field, intervals, ray_bundle.directions, images)
        rgb = (intervals.weights[..., None] * color).sum(dim=1)
        accumulation = intervals.weights.sum(dim=1, keepdim=True)
        return intervals.on_all_rays(rgb, num_rays), intervals.on_all_rays(accumulation, num_rays)

    def _visible_color(
        self, field: ConeRadianceField, intervals: Intervals, directions: Tensor, images: Tensor | None
    ) -> Tensor:
        """RGB (R, S, 3) of samples on rays with directions (R, 3) and indices of images (R, 1). In evaluation those
        that hardly show stay black, and cost nothing."""
        features, weights = intervals.features, intervals.weights
        if torch.is_grad_enabled() or weights.device.type != "cpu":  # a GPU would have to tell how many show
            return field.color(features, directions[:, None], images)
        rays, samples = (weights > _LEAST_WEIGHT).nonzero(as_tuple=True)
        color = weights.new_zeros(*weights.shape, 3)
        color[rays, samples] = field.color(features[rays, samples], directions[rays])
        return color

    def _correct_cameras(self, ray_bundle: RayBundle) -> None:
        with torch.autocast(ray_bundle.origins.device.type, enabled=False):  # rays in half precision miss their pixels
            self.camera_optimizer.apply_to_raybundle(ray_bundle)

    @torch.no_grad()
    def trunk_inputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        self._correct_cameras(ray_bundle)
        networks = self.networks()
        read: dict[str, list[Tensor]] = {name: [] for name in networks}

        def keep(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
            return lambda _, inputs: read[name].append(inputs[0])

        hooks = [network.trunk.register_forward_pre_hook(keep(name)) for name, network in networks.items()]
        try:
            self.march(ray_bundle, networks)
        finally:
            for hook in hooks:
                hook.remove()
        return {name: torch.cat(inputs) for name, inputs in read.items()}

    def _train_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        self._correct_cameras(ray_bundle)
        intervals = self.march(ray_bundle, self.networks())
        rgb, accumulation = self._composite(ray_bundle, intervals, self.field)
        background = self._train_background(ray_bundle.origins)
        self.field.watch_footprint(*intervals.heaviest())
        *proposals, (edges, weights) = intervals.history
        interlevel = torch.stack([interlevel_loss(edges, weights, *proposal).sum() for proposal in proposals])
        return {
            "rgb": rgb + (1.0 - accumulation) * background,
            "accumulation": accumulation,
            "background": background,
            "num_samples": torch.tensor(len(intervals.rays) * self.config.max_samples_per_ray()),
            "interlevel_loss": interlevel.sum() / len(rgb),
            "distortion_loss": distortion_loss(edges, weights).sum() / len(rgb),
        }

    def _eval_outputs(self, ray_bundle: RayBundle, networks: Mapping[str, Field]) -> dict[str, Tensor]:
        intervals = self.march(ray_bundle, networks)
        rgb, accumulation = self._composite(ray_bundle, intervals, networks["field"])
        # the median distance: in unbounded scenes a little weight far away would drag the mean there
        half = torch.full_like(intervals.distances[:, :1], 0.5)
        median = inverse_distribution(intervals.distances, intervals.weights, half)
        visible = accumulation > 1e-4
        depth = torch.where(visible, intervals.on_all_rays(median, len(ray_bundle)), self._farthest(ray_bundle))
        outputs = {
            "rgb": (rgb + (1.0 - accumulation) * self.eval_background()).clamp(0.0, 1.0),
            "accumulation": accumulation.clamp(0.0, 1.0),
            "depth": depth,
        }
        if self.config.output_normals:
            points = ray_bundle.origins + depth * ray_bundle.directions
            outputs["normals"] = self._normals(points, visible[:, 0])
        return outputs

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if self.training:
            losses["interlevel_loss"] = self.config.interlevel_weight * outputs["interlevel_loss"]
            losses["distortion_loss"] = self.config.chosen_distortion_weight() * outputs["distortion_loss"]
            self.camera_optimizer.get_loss_dict(losses)
        return losses
