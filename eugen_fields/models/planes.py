"""Fields of feature planes, for captures and for what lies in a box, as a nerfstudio model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn

from eugen_fields.encodings import PlaneEncoding
from eugen_fields.fields import PlaneDensityField, PlaneField
from eugen_fields.models.proposals.config import ProposalModelConfig
from eugen_fields.models.proposals.model import ProposalModel
from eugen_fields.models.proposals.sizes import PLANES_SIZES


@dataclass
class PlanesModelConfig(ProposalModelConfig):
    """Field that reads features from planes of several resolutions, with a proposal network of coarser planes; hidden
    layers are dense, EUGen, PRP, low-rank or SNNK."""

    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = PLANES_SIZES

    _target: type = field(default_factory=lambda: PlanesModel)
    size: Literal["default", "tiny"] = "default"
    """Sizes of planes and networks where their own options are None. default: planes of up to 512 x 512 with 16
    channels; tiny: planes of up to 256 x 256 with 8 channels."""
    plane_resolutions: tuple[int, ...] | None = None
    """Entries along each side of the planes, one number for each level. None: those of the size."""
    plane_channels: int | None = None
    """Features that each level of planes holds. None: those of the size."""
    plane_combination: Literal["product", "sum"] = "product"
    """How what is read from the three planes of a level is combined."""
    proposal_resolutions: tuple[int, ...] | None = None
    """Entries along each side of the planes of the proposal network, one number for each level. None: those of the
    size."""
    proposal_channels: int | None = None
    """Features that each level of planes of the proposal network holds. None: those of the size."""
    position_frequencies: int = 0
    """Octaves of waves that the network reads beside position and features."""
    total_variation_weight: float = 0.0
    """Weight of the total variation of the planes, which smooths what few photos show. 0: none, and nothing is
    computed."""

    def check_sizes(self) -> None:
        super().check_sizes()
        if not self.total_variation_weight >= 0:
            raise ValueError(f"total_variation_weight is {self.total_variation_weight}; it must be 0 or more")

    def build_field(self, aabb: Tensor, num_images: int = 1) -> PlaneField:
        self.check_sizes()
        encoding = self._planes("plane")
        return PlaneField(aabb, encoding, **self.field_options(num_images)).use_backend(self.backend)

    def build_proposal(self, aabb: Tensor) -> PlaneDensityField:
        self.check_sizes()
        return PlaneDensityField(aabb, self._planes("proposal"), **self.proposal_options()).use_backend(self.backend)

    def _planes(self, whose: str) -> PlaneEncoding:
        return PlaneEncoding(
            self.setting(f"{whose}_resolutions"),
            self.setting(f"{whose}_channels"),
            combination=self.plane_combination,
            num_frequencies=self.position_frequencies,
        )


class PlanesModel(ProposalModel):
    """A field and a proposal network that read feature planes.

    Source: "K-Planes" (Fridovich-Keil et al., 2023), whose planes stand in the place of waves, and as ProposalModel.
    """

    config: PlanesModelConfig
    field: PlaneField
    proposal: PlaneDensityField

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Planes and networks are trained apart, as is all of the proposal network."""
        groups = super().get_param_groups()
        planes = list(self.field.position_encoding.parameters())
        proposals = list(self.proposal.parameters())
        elsewhere = {id(parameter) for parameter in (*planes, *proposals)}
        networks = [parameter for parameter in groups["fields"] if id(parameter) not in elsewhere]
        return groups | {"fields": networks, "planes": planes, "proposals": proposals}

    def _train_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        outputs = super()._train_outputs(ray_bundle)
        if self.config.total_variation_weight > 0:
            outputs["total_variation"] = self.field.total_variation() + self.proposal.total_variation()
        return outputs

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if "total_variation" in outputs:
            losses["total_variation"] = self.config.total_variation_weight * outputs["total_variation"]
        return losses
