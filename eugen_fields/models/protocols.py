"""What other rooms read of a model's configuration, whichever model it is."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

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

    def layer_settings(self, layer: str | None = None) -> dict[str, Any]:
        """Keyword arguments of layers.MLP for a kind of layer; None: that of `layer`."""
        ...

    def check_flags(self) -> None:
        """Builds the networks once. Raises ValueError where an option is out of range."""
        ...

    def build_field(self, aabb: Tensor, num_images: int = 1) -> Field:
        """The untrained field on a scene box, shape (2, 3)."""
        ...
