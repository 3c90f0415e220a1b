"""Fields of feature planes, for captures and for what lies in a box, as a nerfstudio model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import psutil
import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn

from eugen_fields.encodings import PlaneEncoding
from eugen_fields.fields import PlaneDensityField, PlaneField
from eugen_fields.kernels import TinyCudaHashGrid, Unsupported
from eugen_fields.layers.names import LayerName
from eugen_fields.models.proposals.config import ProposalModelConfig
from eugen_fields.models.proposals.model import ProposalModel
from eugen_fields.models.proposals.sizes import PLANES_SIZES

_NETWORKS = ("plane", "proposal")
_BYTES_PER_ENTRY = 7 * 4
"""In training: value, gradient, two means of Adam, and what training would go back to: the value and both means."""
_HASH_SIZES = {"plane": {"levels": 16, "log2_entries": 19}, "proposal": {"levels": 5, "log2_entries": 17}}


@dataclass
class PlanesModelConfig(ProposalModelConfig):
    """Field that reads features from planes of several resolutions, with a proposal network of coarser planes; hidden
    layers are dense, EUGen, PRP, low-rank or SNNK."""

    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = PLANES_SIZES

    _target: type = field(default_factory=lambda: PlanesModel)
    size: Literal["default", "tiny"] = "default"
    """Sizes of planes and networks where their own options are None. default: planes of up to 512 x 512 with 16
    channels; tiny: planes of up to 256 x 256 with 8 channels."""
    encoding: Literal["planes", "hash"] = "planes"
    """What features are read from. planes: feature planes in plain torch, on every device. hash: the hash grid of
    tiny-cuda-nn, which must be installed, on CUDA; its resolutions are those of the coarsest and the finest planes."""
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
    """Octaves of waves that networks read beside position and features of planes."""
    proposal_layer: LayerName | None = None
    """Kind of the proposal network's hidden layers. None: dense."""
    total_variation_weight: float = 0.0
    """Weight of the total variation of the planes, which smooths what few photos show. 0: none, and nothing is
    computed."""

    def check_flags(self) -> None:
        if self.encoding == "planes":
            self._check_memory()  # before they are made
        super().check_flags()

    def check_sizes(self) -> None:
        super().check_sizes()
        if not self.total_variation_weight >= 0:
            raise ValueError(f"total_variation_weight is {self.total_variation_weight}; it must be 0 or more")
        if self.encoding not in ("planes", "hash"):
            raise ValueError(f"encoding is {self.encoding!r}; it must be planes or hash")
        if self.encoding == "hash" and self.total_variation_weight > 0:
            raise ValueError(
                f"total_variation_weight is {self.total_variation_weight}, but a hash grid has no neighbours to "
                "compare: it must be 0, or encoding planes"
            )

    def _check_memory(self) -> None:
        """Raises ValueError where the planes would not fit into the memory, and names sizes that would."""
        needed = {name: _BYTES_PER_ENTRY * PlaneEncoding.parameter_count(*self._sizes_of(name)) for name in _NETWORKS}
        for place, free in _free_memory().items():
            if sum(needed.values()) <= free:
                continue
            largest = max(needed, key=lambda name: needed[name])
            resolutions, channels = self._sizes_of(largest)
            left = max(0, free - sum(needed.values()) + needed[largest])
            smaller = [max(2, int(size * (left / needed[largest]) ** 0.5)) for size in resolutions]
            raise ValueError(
                f"{largest}_resolutions are {resolutions} with {channels} channels: training would take "
                f"{sum(needed.values()) / 2**30:,.1f} GiB, and {place} has {free / 2**30:,.1f} GiB free. "
                f"--pipeline.model.{largest}-resolutions {' '.join(map(str, smaller))} would fit"
            )

    def _sizes_of(self, network: str) -> tuple[tuple[int, ...], int]:
        """Resolutions and channels of the planes of a network."""
        return self.setting(f"{network}_resolutions"), self.setting(f"{network}_channels")

    def build_field(self, aabb: Tensor, num_images: int = 1) -> PlaneField:
        self.check_sizes()
        encoding, options = self._encoding("plane"), self.field_options(num_images)
        return PlaneField(aabb, encoding, **options).use_backend(self.backend)

    def build_proposal(self, aabb: Tensor) -> PlaneDensityField:
        self.check_sizes()
        return PlaneDensityField(aabb, self._encoding("proposal"), **self.proposal_options()).use_backend(self.backend)

    def _encoding(self, network: str) -> PlaneEncoding | TinyCudaHashGrid:
        resolutions, channels = self._sizes_of(network)
        if self.encoding == "hash":
            try:
                return TinyCudaHashGrid(min(resolutions), max(resolutions), **_HASH_SIZES[network])
            except Unsupported as error:
                raise ValueError(f"encoding is hash, but {error}: install it, or choose encoding planes") from None
        return PlaneEncoding(
            resolutions, channels, combination=self.plane_combination, num_frequencies=self.position_frequencies
        )


def _free_memory() -> dict[str, int]:
    """Bytes that are free where planes are made and trained: on the machine, and on its first CUDA device."""
    free = {"the machine": int(psutil.virtual_memory().available)}
    if torch.cuda.is_available():
        free["the GPU"] = torch.cuda.mem_get_info()[0]
    return free


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
