"""Signed distance from depth rays, as a nerfstudio model whose renders are sphere-traced."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import torch
import tyro
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.models.base_model import Model
from nerfstudio.utils import colormaps
from torch import Tensor, nn

from eugen_fields.fields.sdf import SDFField
from eugen_fields.models.field_model import FieldModelConfig, render_in_chunks
from eugen_fields.models.sdf_losses import SDFLossWeights, sdf_loss_terms
from eugen_fields.models.viewer_start import StartAbove
from eugen_fields.sampling import SeenCells, point_bounds, ray_bounds, sample_depth_rays, shaded, trace_box


@dataclass
class ISDFModelConfig(FieldModelConfig):
    """iSDF whose hidden layers are dense, EUGen, PRP, low-rank or SNNK."""

    _target: type = field(default_factory=lambda: ISDFModel)
    sdf_field: Annotated[Literal["signed-distance"], tyro.conf.Suppress] = "signed-distance"
    """Content of the field; nerfstudio's marching-cubes exporter looks for this option."""
    num_layers: int = 6
    """Number of hidden layers."""
    layer_width: int = 256
    """Width of the hidden layers; eugen-residual has num-features in its place."""
    skip_connections: tuple[int, ...] = (3,)
    """Layers that read the encoded position again; 3 is the one after the third. Those of eugen-residual do in any
    case."""
    position_frequencies: int = 6
    """Octaves of the encoding of positions."""
    position_scale: float = 0.0189
    """Scale of positions before they are encoded, per metre: the longest wave of the encoding is 2 / scale metres."""
    activation: Literal["softplus100", "relu"] = "softplus100"
    """Activation of the dense hidden layers; EUGen layers have feature-activation."""
    output_scale: float = 0.14
    """Metres per unit of the network's output."""
    gradient_mode: Literal["reverse", "forward"] = "reverse"
    """How the gradient of the distance is computed: by reverse-mode or by forward-mode differentiation."""

    bounds: Literal["pc", "ray"] = "pc"
    """Upper bound of the distance at each sample. pc: distance to the nearest surface point of the training step; ray:
    distance to the surface along the sample's own ray, which is looser."""
    unseen_depth: float = 0.0
    """Depth in metres behind the border of unseen space at which a surface is assumed, which bounds distances. 0: no
    surface is assumed, as in iSDF, and distances are those to surfaces that were seen."""
    near: float = 0.07
    """Distance from the camera at which samples begin, metres."""
    beyond: float = 0.1
    """Distance behind the surface at which samples end, metres."""
    num_near_surface: int = 7
    """Samples per ray around the surface, in addition to the one on it."""
    surface_spread: float = 0.1
    """Standard deviation of the distance of samples around the surface from it, metres."""
    num_stratified: int = 19
    """Samples per ray spread evenly from the camera to behind the surface."""
    truncation: float = 0.2937
    """Largest bound, metres, to which samples are fitted; samples with larger bounds lie in free space."""
    free_space_fit: float = 0.0
    """Weight per metre of fitting free-space samples to their bound; iSDF only keeps them below it (0). Needs tight
    bounds: see --pipeline.datamanager.cloud-points."""
    near_surface_weight: float = 5.383
    """Weight per metre of fitting samples near the surface to their bound."""
    eikonal_weight: float = 0.268
    """Weight of the Eikonal loss: the gradient of a distance has length 1."""
    eikonal_from: float = 0.1
    """Smallest bound, metres, of samples in the Eikonal loss."""
    gradient_direction_weight: float = 0.018
    """Weight of the loss on the direction of the gradient."""

    trace_steps: int = 48
    """Maximum number of sphere-tracing steps per ray of a render."""

    def build_field(self, aabb: Tensor, num_images: int = 0) -> SDFField:
        """The untrained field around a box, shape (2, 3), metres. Raises ValueError where a flag is out of range."""
        names = ("num_layers", "layer_width", "position_frequencies", "skip_connections", "activation", "output_scale")
        field = SDFField(
            aabb,
            self.position_scale,
            **{name: getattr(self, name) for name in names},
            replace=self.replace,
            layer=self.layer,
            **self.layer_settings(),
        )
        return field.use_backend(self.backend)

    def build_seen(self, aabb: Tensor) -> SeenCells:
        """The grid of where surfaces were seen in a box, shape (2, 3), metres; none yet."""
        return SeenCells(aabb)

    def check_flags(self) -> None:
        """Builds the network once. Raises ValueError where a flag is out of range."""
        for name in ("position_scale", "output_scale", "near", "beyond", "surface_spread", "truncation"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        self.check_dense_start()
        for name in ("num_near_surface", "num_stratified", "free_space_fit", "unseen_depth"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if self.trace_steps < 1:
            raise ValueError(f"trace_steps is {self.trace_steps}; it must be at least 1")
        self.build_field(torch.tensor([[-1.0] * 3, [1.0] * 3]))

    def loss_weights(self) -> SDFLossWeights:
        return SDFLossWeights(
            truncation=self.truncation,
            free_space_fit=self.free_space_fit,
            near_surface=self.near_surface_weight,
            eikonal=self.eikonal_weight,
            eikonal_from=self.eikonal_from,
            gradient_direction=self.gradient_direction_weight,
        )


class ISDFModel(Model):
    """A signed distance field that is fitted to depth rays (training) and sphere-traced (evaluation).

    Source: "iSDF: Real-Time Neural Signed Distance Fields for Robot Perception" (Ortiz et al., 2022).
    """

    config: ISDFModelConfig
    field: SDFField
    seen: SeenCells

    def populate_modules(self) -> None:
        super().populate_modules()
        aabb = self.scene_box.aabb.float().cpu()
        self.field = self.config.build_field(aabb)
        self.seen = self.config.build_seen(aabb)
        self.start_camera = StartAbove(aabb)

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"fields": list(self.field.parameters())}

    def networks(self) -> dict[str, SDFField]:
        """The trained networks by name."""
        return {"field": self.field}

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # type: ignore[override]
        return self._train_outputs(ray_bundle) if self.training else self._eval_outputs(ray_bundle, self.field)

    def _eval_outputs(self, ray_bundle: RayBundle, field: SDFField) -> dict[str, Tensor]:
        """Renders (..., channels) of a field along rays of any shape."""
        shape = ray_bundle.origins.shape[:-1]
        flat = ray_bundle.flatten()
        outputs = self._render(field, flat.origins, flat.directions, _limits(flat))
        return {name: value.view(*shape, -1) for name, value in outputs.items()}

    def _train_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """sdf (R, S) and gradient (R, S, 3) at samples of depth rays (R,), with their distances (R, S) and points
        (R, S, 3)."""
        distances, points = self._train_samples(ray_bundle)
        sdf, gradient = self.field.sdf_and_gradient(points.view(-1, 3), mode=self.config.gradient_mode)
        sdf, gradient = sdf.view(distances.shape), gradient.view(points.shape)
        return {"sdf": sdf, "gradient": gradient, "distances": distances, "points": points}

    @torch.no_grad()
    def trunk_inputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """What the trunk reads at samples of depth rays (R,), shape (samples, encoding width), by the field's name."""
        return {"field": self.field.encode(self._train_samples(ray_bundle)[1].view(-1, 3))}

    def _train_samples(self, ray_bundle: RayBundle) -> tuple[Tensor, Tensor]:
        """Distances (R, S) of samples along depth rays (R,), and their points (R, S, 3)."""
        config = self.config
        assert ray_bundle.metadata is not None
        distances = sample_depth_rays(
            ray_bundle.metadata["distances"][:, 0],
            near=config.near,
            beyond=config.beyond,
            num_near_surface=config.num_near_surface,
            spread=config.surface_spread,
            num_stratified=config.num_stratified,
        )
        return distances, ray_bundle.origins[:, None] + distances[..., None] * ray_bundle.directions[:, None]

    def loss_terms(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """The weighted terms of each sample, (R, S)."""
        distances, points, seen = outputs["distances"], outputs["points"], batch["distances"][:, None]
        target = point_bounds(points, distances > seen, batch["surface"], batch["surface_normals"])
        bounds = target.bounds if self.config.bounds == "pc" else ray_bounds(batch["distances"], distances)
        directions = target.directions
        if self.config.unseen_depth > 0:
            farthest = self.seen.unseen_distance(points.view(-1, 3)).view(bounds.shape) + self.config.unseen_depth
            directions = torch.where((bounds <= farthest)[..., None], directions, torch.zeros_like(directions))
            bounds = torch.minimum(bounds, farthest)
        return sdf_loss_terms(outputs["sdf"], outputs["gradient"], bounds, directions, self.config.loss_weights())

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        if "sdf" not in outputs:  # rendered rays of an evaluation
            return {"depth_loss": (outputs["depth"][:, 0] - batch["distances"]).abs().mean()}
        terms = self.loss_terms(outputs, batch)
        outputs["ray_loss"] = torch.stack([term.detach().mean(dim=1) for term in terms.values()]).sum(dim=0)
        return {f"{name}_loss": term.mean() for name, term in terms.items()}

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Any]:
        return {}

    @torch.no_grad()
    def get_outputs_for_camera_ray_bundle(self, camera_ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Renders with the folded network (same image to rounding, fewer multiplications)."""
        render = partial(self._eval_outputs, field=self.field.folded())
        return render_in_chunks(camera_ray_bundle, render, self.config.eval_num_rays_per_chunk, self.device)

    @torch.no_grad()
    def trace(
        self, field: SDFField, origins: Tensor, directions: Tensor, limits: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Where rays (R,) meet the surface inside the box of what was seen.

        Returns:
            metres along the rays (R,), where they leave the box if they meet nothing; and which meet something, (R,).
        """
        return trace_box(field.sdf, self.field.aabb, origins, directions, limits, max_steps=self.config.trace_steps)

    def _render(
        self, field: SDFField, origins: Tensor, directions: Tensor, limits: tuple[Tensor, Tensor] | None
    ) -> dict[str, Tensor]:
        """rgb (lit from the camera), accumulation, depth along unit rays and normals, each (R, channels)."""
        depth, hit = self.trace(field, origins, directions, limits)
        return shaded(field.normals, origins, directions, depth, hit)

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """RGBA; exporters drop what has little alpha."""
        return torch.cat([outputs[output_name], outputs["accumulation"]], dim=-1)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Depth against what the frame measured: mean error in centimetres where both have one, the share of measured
        pixels that agree within a tenth, and the share that meets a surface at all."""
        measured, depth = batch["depth_image"].to(self.device), outputs["depth"]
        known, hit = measured > 0, outputs["accumulation"] > 0.5
        both = known & hit
        error = (depth - measured).abs()
        agreeing = both & (error <= 0.1 * measured)
        count = known.sum().clamp(min=1)
        metrics = {
            "depth_error_cm": float(100.0 * error[both].mean()) if bool(both.any()) else float("nan"),
            "depth_agreement": float(agreeing.sum() / count),
            "surface_found": float(both.sum() / count),
        }
        farthest = float(measured.max()) or 1.0
        pictures = [
            colormaps.apply_depth_colormap(image, near_plane=0.0, far_plane=farthest) for image in (measured, depth)
        ]
        return metrics, {
            "img": torch.cat([batch["image"].to(self.device)[..., :3], outputs["rgb"]], dim=1),
            "depth": torch.cat([pictures[0] * known, pictures[1]], dim=1),
            "normals": outputs["normals"],
        }


def _limits(ray_bundle: RayBundle) -> tuple[Tensor, Tensor] | None:
    """Nears and fars (R,) that a bundle brings along (nerfstudio's texture exporter); else None."""
    if ray_bundle.nears is None or ray_bundle.fars is None:
        return None
    return ray_bundle.nears[..., 0], ray_bundle.fars[..., 0]
