"""A field of signed distance that is trained by fused kernels on its distances and their gradients."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from eugen_fields.kernels.field import read_network
from eugen_fields.kernels.run.graphs import Graphs
from eugen_fields.kernels.run.launch import write_program
from eugen_fields.kernels.run.training import Apply, Plan
from eugen_fields.kernels.stages.live import live_stages, tensors_of
from eugen_fields.kernels.stages.stage import Stage
from eugen_fields.kernels.unsupported import Unsupported, part
from eugen_fields.kernels.write.backward import Columns, store_value
from eugen_fields.kernels.write.networks import DistanceNetwork, write_points
from eugen_fields.kernels.write.program import ProgramWriter, check_operands, split_width


class FusedDistance:
    """Signed distance and its spatial gradient from fused kernels, both differentiable in the field's parameters.

    The reference is SDFField.sdf_and_gradient(points, mode="forward"). Forward, value and three tangents of a point
    pass through the stages as four rows of one tile. The backward pass takes gradients of both outputs through the same
    rows: the gradient of a weight sums over values and tangents alike. As in FusedMLP, operands and what the backward
    pass keeps are of type `dtype`, sums are float32 and in a fixed order, and between the passes nothing is stored but
    points and outputs. Encoded points, unlike in FusedField, go through memory: that takes 2 KB per point at iSDF's
    size, a small part of what the backward pass writes.

    The parameters are read at every call; box, scale and encoding are those at the construction. Points get no
    gradient. On a GPU, calls with one shape become a CUDA graph (Graphs).

    Args:
        field: as fields.SDFField, not folded; its device decides where kernels run, as in FusedField.
        dtype: torch.bfloat16, float16 (whose gradients need a loss scale) or float32.

    Raises:
        Unsupported: kernels cannot train the field.
        ValueError: another dtype.
    """

    def __init__(self, field: Any, dtype: torch.dtype = torch.bfloat16) -> None:
        check_operands(dtype)
        network = read_network(field)
        if not isinstance(network, DistanceNetwork):
            raise Unsupported(f"a {type(field).__name__} is no field of signed distance")
        with part("trunk"):
            stages = live_stages(field.trunk)
        self.field = field
        device = next(field.trunk.parameters()).device
        self._plan = distance_plan(network, stages, field.trunk.in_dim, dtype, device)
        self._graphs = Graphs(field.trunk, self._rows)

    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distance (N,) in metres and its gradient (N, 3), float32, at points (N, 3) in metres.

        Raises:
            ValueError: the points require a gradient.
        """
        if points.requires_grad:
            raise ValueError("the points require a gradient, but FusedDistance has none for them: detach them")
        both = self.field.output_scale * self._graphs(points.float().contiguous())
        return both[:, 0], both[:, 1:]

    def _rows(self, points: Tensor) -> Tensor:
        """Distances and gradients side by side, (N, 4), in units of the network's output."""
        y = Apply.apply(self._plan, points, *tensors_of(live_stages(self.field.trunk)))
        assert isinstance(y, Tensor)
        return y


def distance_plan(
    network: DistanceNetwork, stages: list[Stage], in_dim: int, dtype: torch.dtype, device: torch.device
) -> Plan:
    """The programs that train a trunk, whose stages read `in_dim` columns, on distances and their gradients."""
    encode = write_program(
        "encode",
        partial(write_encoding, network=network),
        dtype,
        device,
        emulated=device.type == "cpu",
        tangents=True,
    )
    return Plan(stages, in_dim, dtype, device, encode.to(device))


def write_encoding(writer: ProgramWriter, network: DistanceNetwork) -> tuple[str, ...]:
    """Adds points -> encoding; returns the pointers: points (count, 3), inputs (count, padded width) of the operands'
    type, four rows for each point where the writer has tangents."""
    encoded = write_points(writer, "points", network.position_encoding, network.frame)
    columns = Columns(0, split_width(network.position_encoding.out_dim, writer.piece))
    store_value(writer, "inputs", columns.end, columns, encoded)
    return "points", "inputs"
