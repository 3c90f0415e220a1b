"""What other rooms read of a model's configuration, whichever model it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from eugen_fields.fields import Field


@runtime_checkable
class ModelFlags(Protocol):
    """Options that the configuration of every model of ours has: `config.pipeline.model` of a run of ours, whose
    declared type is nerfstudio's."""

    layer: Any
    """Kind of the replaced hidden layers, one of layers.LAYER_KINDS."""
    replace: tuple[int, ...] | None
    """Indices of the replaced trunk layers."""
    eval_num_rays_per_chunk: int
    """Rays rendered at once in evaluation."""
    backend: Any
    """How networks are evaluated."""
    dense_start: float | None
    """Share of the training steps for which the replaced layers are dense; None before it is chosen."""

    def idle_options(self) -> list[str]:
        """Names of options that are not at their defaults and that none of the replaced layers has."""
        ...

    @property
    def starts_dense(self) -> bool:
        """Whether layers that are not dense are dense for the first steps of a training."""
        ...

    @property
    def projections(self) -> str:
        """Where the closed form of a dense start takes the projections of EUGen layers from."""
        ...

    def dense_phase(self) -> ModelFlags:
        """A copy of these options for the networks as they are during the dense start."""
        ...

    def layer_settings(self, layer: str | None = None) -> dict[str, Any]:
        """Keyword arguments of layers.MLP for a kind of layer; None: that of `layer`."""
        ...

    def check_flags(self) -> None:
        """Builds the networks once. Raises ValueError where an option is out of range."""
        ...

    def build_field(self, aabb: Tensor, num_images: int = 1) -> Field:
        """The untrained field on a scene box, shape (2, 3)."""
        ...

    def build_networks(self, aabb: Tensor, num_images: int = 1) -> dict[str, Field]:
        """All untrained networks, by the names of the model's `networks()`."""
        ...


class FieldModel(Protocol):
    """What training asks of a model of ours beyond what nerfstudio does."""

    field: Field
    num_train_data: int

    def networks(self) -> Mapping[str, Field]:
        """The trained networks by name, the field first."""
        ...

    def trunk_inputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """What the trunk of each network reads along training rays, (samples, encoding width), by its name."""
        ...
