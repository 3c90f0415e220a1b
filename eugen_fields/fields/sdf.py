"""Signed distance from an MLP whose hidden layers are chosen by name, with its gradient in reverse or forward mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from eugen_fields.encodings import IntegratedEncoding
from eugen_fields.fields.base import Field
from eugen_fields.kernels import Backend
from eugen_fields.layers import MLP


class SDFField(Field):
    """Signed distance to the nearest surface in metres: positive in free space, negative behind surfaces.

    Source: "iSDF: Real-Time Neural Signed Distance Fields for Robot Perception" (Ortiz et al., 2022): waves
    along the 21 directions of an icosahedron, an MLP that reads them twice, a linear output.

    Points p in the world become u = scale (p - center). The encoding holds u and sin, cos of 2^k pi b.u for k = 0, 1,
    ..: its longest wave is 2 / scale metres, each octave half of the one before. iSDF has no pi in its waves; its
    published scale of 0.0594 per metre is 0.0594 / pi = 0.0189 here, where the six octaves have waves of 106 m down to
    3.3 m. That is far longer than a room: fine detail comes from the MLP, and the field stays smooth between samples.

    Args:
        aabb: box that holds the scene, shape (2, 3), metres; its middle is the center. The field goes on outside.
        scale: of u, per metre.
        num_layers, layer_width: hidden layers and their width.
        position_frequencies: octaves of the encoding.
        skip_connections: layers that read the encoding again; 3 is the one after the third.
        activation: of the hidden layers, "softplus100" or "relu" (or another of eugen_fields.layers). EUGen layers have
            their own, feature_activation.
        output_scale: metres that one unit of the network's output stands for.
        layer, replace, layer_options: as in eugen_fields.layers.MLP.

    Raises:
        ValueError: a scale that is not positive; a size, index, kind or option outside what is offered.
    """

    scale: Tensor

    def __init__(
        self,
        aabb: Tensor,
        scale: float = 0.0189,
        *,
        num_layers: int = 6,
        layer_width: int = 256,
        position_frequencies: int = 6,
        skip_connections: Sequence[int] = (3,),
        activation: str = "softplus100",
        output_scale: float = 0.14,
        layer: str = "eugen",
        replace: Sequence[int] | None = None,
        **layer_options: Any,
    ) -> None:
        super().__init__()
        self._prepare(aabb, scale, position_frequencies, output_scale)
        self.trunk = MLP(
            self.position_encoding.out_dim,
            num_layers + 1,
            layer_width,
            1,
            layer=layer,
            replace=replace,
            skip_connections=skip_connections,
            activation=activation,
            **layer_options,
        )

    def _prepare(self, aabb: Tensor, scale: float, position_frequencies: int, output_scale: float) -> None:
        """Everything but the network."""
        for name, value in (("scale", scale), ("output_scale", output_scale)):
            if not value > 0:
                raise ValueError(f"{name} is {value}; it must be positive")
        self.register_buffer("aabb", aabb.clone().to(torch.get_default_dtype()))
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.output_scale = output_scale
        self.position_encoding = IntegratedEncoding(position_frequencies, basis="icosahedron")

    @classmethod
    def of_network(
        cls,
        aabb: Tensor,
        make_trunk: Callable[[int], Any],
        *,
        scale: float,
        position_frequencies: int,
        output_scale: float,
    ) -> SDFField:
        """A field of a network that is there already, such as a folded one.

        Args:
            make_trunk: from the width of the encoded position to the trunk.
            aabb, scale, position_frequencies, output_scale: as of the field.
        """
        field = cls.__new__(cls)
        Field.__init__(field)
        field._prepare(aabb, scale, position_frequencies, output_scale)
        field.trunk = make_trunk(field.position_encoding.out_dim)
        return field

    def encode(self, points: Tensor) -> Tensor:
        """What the trunk reads at points (N, 3) in metres, shape (N, encoding width)."""
        with torch.autocast(points.device.type, enabled=False):
            return self.position_encoding((points - self.aabb.mean(dim=0)) * self.scale)

    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance (N,) in metres at points (N, 3) in metres."""
        kernel = self.evaluator.whole_field(points)
        if kernel is not None:
            return kernel.sdf(points)
        return self.output_scale * self.trunk(self.encode(points))[..., 0].to(points.dtype)

    def forward(self, points: Tensor) -> Tensor:
        """Signed distance (N,) in metres, as `sdf`."""
        return self.sdf(points)

    def sdf_and_gradient(
        self, points: Tensor, *, mode: Literal["reverse", "forward"] = "reverse"
    ) -> tuple[Tensor, Tensor]:
        """Signed distance (N,) and its gradient (N, 3), which has no unit, at points (N, 3) in metres.

        Both are differentiable wherever gradients are enabled: a loss on them takes one ordinary backward().

        The modes agree to rounding. "reverse" differentiates the sum of the distances and then, in backward(), that
        derivative: per weight and point 6 multiplications in all, 2 in evaluation. "forward" carries the value and
        three tangents through the network in one pass, and no derivative has a graph: 12 multiplications, 4 in
        evaluation.

        Raises:
            ValueError: an unknown mode.
        """
        if mode not in ("reverse", "forward"):
            raise ValueError(f"mode is {mode!r}; it must be 'reverse' or 'forward'")
        kernel = self.evaluator.whole_field(points)
        if kernel is not None:
            return kernel.sdf_and_gradient(points)
        training_kernel = None if points.requires_grad else self.evaluator.distance_training(self)
        if training_kernel is not None:
            return training_kernel(points)
        return self._reverse(points) if mode == "reverse" else self._forward(points)

    def prepare_training(self) -> None:
        self.evaluator.distance_training(self)
        self.evaluator.prepare_inference(self)

    def use_backend(self, backend: Backend) -> SDFField:
        if backend == "tcnn":
            raise ValueError("backend tcnn is for density and colour; signed distance wants auto, fused or torch")
        return super().use_backend(backend)

    def _reverse(self, points: Tensor) -> tuple[Tensor, Tensor]:
        keep_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            if not (keep_graph and points.requires_grad):
                points = points.detach().requires_grad_()
            distance = self.sdf(points)
            (gradient,) = torch.autograd.grad(distance.sum(), points, create_graph=keep_graph)
        return (distance, gradient) if keep_graph else (distance.detach(), gradient)

    def _forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        axes = torch.eye(3, dtype=points.dtype, device=points.device)

        def along(axis: Tensor) -> tuple[Tensor, Tensor]:
            return torch.func.jvp(self.sdf, (points,), (axis.expand_as(points),))  # type: ignore[return-value]

        # the value does not depend on the axis, so vmap computes it once
        distance, gradient = torch.func.vmap(along, out_dims=(None, -1))(axes)  # type: ignore[arg-type]
        return distance, gradient

    def normals(self, points: Tensor) -> Tensor:
        """Unit gradients (N, 3), which at a surface point into free space, at points (N, 3) in metres; 0 where the
        field is flat."""
        return F.normalize(self.sdf_and_gradient(points)[1], dim=-1)

    @torch.no_grad()
    def evaluate(self, points: Tensor, chunk_size: int = 1 << 16) -> Tensor:
        """Signed distance (...) in metres at any number of points (..., 3), without a graph, by chunks."""
        chunks = [self.sdf(chunk) for chunk in points.reshape(-1, 3).split(chunk_size)]
        return torch.cat(chunks).view(points.shape[:-1])

    def forward_geonetwork(self, points: Tensor) -> Tensor:
        """Signed distance as the only column, shape (N, 1): what nerfstudio's mesh exporter asks a field for."""
        return self.sdf(points)[:, None]
