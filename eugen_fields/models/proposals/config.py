"""Options of models that find surfaces by proposals, and of the sizes of their networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from torch import Tensor

from eugen_fields.fields import ConeField, ConeRadianceField, Field
from eugen_fields.layers.names import LayerName
from eugen_fields.models.radiance import RadianceModelConfig


@dataclass
class ProposalModelConfig(RadianceModelConfig):
    """Field with a proposal network, both seen through cones. Subclasses say which fields, and have their sizes."""

    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """What the flags that are None stand for, by the name of a size."""

    size: str = "default"
    """Sizes of the networks where their own options are None."""
    regime: Literal["auto", "bounded", "unbounded"] = "auto"
    """Extent of the scene. bounded: everything lies in the scene box. unbounded: space around the box is contracted.
    auto: bounded for Blender scenes, unbounded for captures."""
    num_layers: int | None = None
    """Number of hidden layers of the trunk. None: that of the size."""
    layer_width: int | None = None
    """Width of the hidden layers; eugen-residual has num-features in its place. None: that of the size."""
    feature_dim: int | None = None
    """Length of the feature vector from the trunk to the colour head. None: that of the size."""
    color_width: int | None = None
    """Width of the colour head. None: that of the size."""
    direction_frequencies: int = 4
    """Octaves of the encoding of viewing directions."""
    skip_connections: tuple[int, ...] | None = None
    """Trunk layers that read the encoded position again; those of eugen-residual do in any case. None: those of the
    size."""
    proposal_layer: LayerName | None = None
    """Kind of the proposal network's hidden layers. None: that of the field, or dense for size paper."""
    proposal_num_layers: int | None = None
    """Number of hidden layers of the proposal network. None: that of the size."""
    proposal_width: int | None = None
    """Width of the proposal network, whose layers have as many features per unit of width as those of the field. None:
    that of the size."""
    proposal_samples: tuple[int, ...] | None = None
    """Samples per ray in each round of proposals. None: those of the size."""
    num_samples: int | None = None
    """Samples per ray at which the field is evaluated. None: those of the size."""
    appearance_dim: int = 0
    """Length of the appearance code of each training image, for captures whose exposure changes. 0: no codes."""
    far_plane: float = 1000.0
    """Distance at which rays of unbounded scenes end (scene units)."""
    spacing: Literal["power", "disparity"] = "power"
    """How the first proposals spread along rays of unbounded scenes. power: evenly near the camera, wider apart with
    distance (Zip-NeRF). disparity: evenly in inverse distance (Mip-NeRF 360)."""
    anneal_steps: int = 1000
    """Training steps over which samples move from an even spread to where the proposals place them."""
    interlevel_weight: float = 1.0
    """Weight of the interlevel loss, which trains the proposal network."""
    distortion_weight: float | None = None
    """Weight of the distortion loss, which gathers the weights of a ray in one place. None: 0.001 in unbounded scenes
    (ten times as much gathers them in fog in front of every camera) and 0 in bounded ones (where it would harden
    silhouettes that low resolutions blur)."""
    camera_optimizer: CameraOptimizerConfig = field(default_factory=lambda: CameraOptimizerConfig(mode="off"))
    """Correction of camera poses in training."""
    eval_num_rays_per_chunk: int = 4096
    """Rays rendered at once in evaluation."""

    def chosen_distortion_weight(self) -> float:
        """The flag, or what the regime has for it."""
        if self.distortion_weight is not None:
            return self.distortion_weight
        return 0.001 if self.regime == "unbounded" else 0.0

    def setting(self, name: str) -> Any:
        """A flag, or what the size has for it."""
        if self.size not in self.sizes:
            raise ValueError(f"size is {self.size!r}; it must be one of {', '.join(self.sizes)}")
        value = getattr(self, name)
        return self.sizes[self.size][name] if value is None else value

    def check_flags(self) -> None:
        super().check_flags()
        self.build_proposal(torch.tensor([[-1.0] * 3, [1.0] * 3]))

    def build_networks(self, aabb: Tensor, num_images: int = 1) -> dict[str, Field]:
        return super().build_networks(aabb, num_images) | {"proposal": self.build_proposal(aabb)}

    def kinds(self) -> set[str]:
        return {self.layer, self.setting("proposal_layer") or self.layer}

    def dense_phase(self) -> ProposalModelConfig:
        return dataclasses.replace(super().dense_phase(), proposal_layer="dense")

    def check_sizes(self) -> None:
        """Raises ValueError where a size, a weight or the regime is out of range."""
        counts = ("num_layers", "layer_width", "feature_dim", "color_width", "proposal_num_layers", "proposal_width")
        for name in counts:
            if self.setting(name) <= 0:
                raise ValueError(f"{name} is {self.setting(name)}; it must be a positive integer")
        if self.setting("num_samples") < 2:
            raise ValueError(f"num_samples is {self.num_samples}; it must be at least 2")
        if not self.setting("proposal_samples") or min(self.setting("proposal_samples")) < 2:
            raise ValueError(f"proposal_samples is {self.proposal_samples}; give one integer or more, each at least 2")
        for name in ("appearance_dim", "anneal_steps", "interlevel_weight", "distortion_weight"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} is {value}; it must be 0 or more")
        if not 0.0 < self.near_plane < self.far_plane < float("inf"):
            raise ValueError(f"near_plane is {self.near_plane}; it must lie between 0 and far_plane ({self.far_plane})")
        if self.regime == "auto":
            raise ValueError("regime is still auto; it must be bounded or unbounded once the data parser is known")
        if self.regime not in ("bounded", "unbounded"):
            raise ValueError(f"regime is {self.regime!r}; it must be bounded, unbounded or auto")

    def build_field(self, aabb: Tensor, num_images: int = 1) -> ConeRadianceField:
        raise NotImplementedError

    def build_proposal(self, aabb: Tensor) -> ConeField:
        """The untrained proposal network on a scene box, shape (2, 3). Raises ValueError as build_field."""
        raise NotImplementedError

    def field_options(self, num_images: int) -> dict[str, Any]:
        """Keyword arguments of ConeRadianceField that these flags set."""
        names = ("replace", "num_layers", "layer_width", "feature_dim", "color_width", "skip_connections")
        return {
            **{name: self.setting(name) for name in names},
            "bounded": self.regime == "bounded",
            "direction_frequencies": self.direction_frequencies,
            "num_images": num_images,
            "appearance_dim": self.appearance_dim,
            "layer": self.layer,
            **self.layer_settings(),
        }

    def proposal_options(self) -> dict[str, Any]:
        """Keyword arguments of ConeField that these flags set for the proposal network."""
        layer = self.setting("proposal_layer") or self.layer
        options = self.layer_settings(layer)
        for name in ("num_features", "rank"):
            if options.get(name):
                scaled = options[name] * self.setting("proposal_width") / self.setting("layer_width")
                options[name] = max(1, round(scaled))
        return {
            "bounded": self.regime == "bounded",
            "num_layers": self.setting("proposal_num_layers"),
            "layer_width": self.setting("proposal_width"),
            "layer": layer,
            **options,
        }

    def max_samples_per_ray(self) -> int:
        return sum(self.setting("proposal_samples")) + self.setting("num_samples")
