"""Mip-NeRF-style fields, whose encoding averages waves over cones, as a nerfstudio model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor

from eugen_fields.fields import GaussianDensityField, MipNeRFField
from eugen_fields.models.proposals.config import ProposalModelConfig
from eugen_fields.models.proposals.model import ProposalModel
from eugen_fields.models.proposals.sizes import MIPNERF_SIZES


@dataclass
class MipNeRFModelConfig(ProposalModelConfig):
    """Mip-NeRF-style field with a proposal network; their hidden layers are dense, EUGen, residual EUGen,
    PRP, low-rank or SNNK."""

    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = MIPNERF_SIZES

    _target: type = field(default_factory=lambda: MipNeRFModel)
    size: Literal["default", "paper", "tiny"] = "default"
    """Sizes of the networks where their own options are None. default: 8 layers of 256; paper: 8 layers of 1024, as in
    the EUGen paper; tiny: 4 layers of 128."""
    position_frequencies: int | None = None
    """Octaves of the integrated encoding of positions. None: those of the size."""
    basis: Literal["diagonal", "icosahedron"] | None = None
    """Directions along which positions are encoded: the three axes (diagonal), or 21 of an icosahedron (Mip-NeRF 360).
    None: those of the size."""

    def check_sizes(self) -> None:
        super().check_sizes()
        if self.setting("position_frequencies") <= 0:
            raise ValueError(
                f"position_frequencies is {self.setting('position_frequencies')}; it must be a positive integer"
            )

    def build_field(self, aabb: Tensor, num_images: int = 1) -> MipNeRFField:
        self.check_sizes()
        return MipNeRFField(aabb, **self._encoding(), **self.field_options(num_images)).use_backend(self.backend)

    def build_proposal(self, aabb: Tensor) -> GaussianDensityField:
        self.check_sizes()
        return GaussianDensityField(aabb, **self._encoding(), **self.proposal_options()).use_backend(self.backend)

    def _encoding(self) -> dict[str, Any]:
        return {name: self.setting(name) for name in ("position_frequencies", "basis")}


class MipNeRFModel(ProposalModel):
    """A field and a proposal network of Gaussians.

    Source: "Mip-NeRF" (Barron et al., 2021) and as ProposalModel.
    """

    config: MipNeRFModelConfig
