"""Fields of density and colour, or of signed distance, evaluated by one kernel each."""

import functools
from typing import Any

import torch
from torch import Tensor, nn

from eugen_fields.encodings import FrequencyEncoding, IntegratedEncoding
from eugen_fields.kernels.run.launch import run, write_program
from eugen_fields.kernels.stages.stage import Stage, read_stages
from eugen_fields.kernels.tiled import TiledMLP, is_plain
from eugen_fields.kernels.unsupported import Unsupported, part
from eugen_fields.kernels.write import networks
from eugen_fields.kernels.write.networks import DistanceNetwork, Frame, RadianceNetwork
from eugen_fields.kernels.write.program import Program, check_operands
from eugen_fields.layers import MLP, fold
from eugen_fields.layers.folding.folded import FoldedMLP

WIDEST_ENCODING = 512
WRITERS = {
    "radiance": networks.write_radiance,
    "density": networks.write_density,
    "distance": networks.write_distance,
}


class FusedField:
    """The inference form of a NeRFField or an SDFField, folded or not, as one kernel from points to outputs.

    The encoding is computed in the kernel and no intermediate leaves the chip. Operands of matrix products are of type
    `dtype`, sums and everything else are float32; outputs agree with field.folded() to rounding. The weights are those
    at the time of the call: a field that is trained on needs a new FusedField, which reuses the compiled kernels.

    Runs on the device of the field: a GPU, or for tests the CPU, in Triton's interpreter, far slower than torch.

    Args:
        field: with attributes as fields.NeRFField or fields.SDFField has them.
        dtype: torch.bfloat16, float16 or float32 (each product as three of tf32: slower, and as good as float32).

    Raises:
        Unsupported: kernels cannot evaluate the field.
        ValueError: another dtype.
    """

    def __init__(self, field: nn.Module, dtype: torch.dtype = torch.bfloat16) -> None:
        check_operands(dtype)
        self.network = read_network(field)
        self.dtype = dtype
        self.device = next(value.device for value in field.state_dict().values())

    @property
    def is_distance(self) -> bool:
        """Whether the field is one of signed distance."""
        return isinstance(self.network, DistanceNetwork)

    def serves(self, points: Tensor) -> bool:
        """Whether points are for this kernel: plain float32 on its device, of which nobody wants gradients."""
        return points.device == self.device and points.dtype == torch.float32 and is_plain(points)

    @functools.cached_property
    def _radiance(self) -> Program:
        return self._program("radiance")

    @functools.cached_property
    def _density(self) -> Program:
        return self._program("density")

    @functools.cached_property
    def _distance(self) -> Program:
        return self._program("distance")

    @functools.cached_property
    def _distance_and_gradient(self) -> Program:
        return self._program("distance", tangents=True)

    def _program(self, name: str, tangents: bool = False) -> Program:
        if self.is_distance != (name == "distance"):
            raise TypeError(f"this field has no {name}")
        write = functools.partial(WRITERS[name], network=self.network)
        emulated = self.device.type == "cpu"
        return write_program(name, write, self.dtype, self.device, emulated=emulated, tangents=tangents).to(self.device)

    def sources(self) -> dict[str, str]:
        """The sources of all kernels of the field, by what they compute."""
        if self.is_distance:
            return {"distance": self._distance.source, "distance and gradient": self._distance_and_gradient.source}
        return {"density and colour": self._radiance.source, "density": self._density.source}

    def density_and_color(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Density per scene unit (N,) and RGB (N, 3), float32, at points (N, 3) seen along unit directions (N, 3)."""
        density, color = _empty(points), _empty(points, 3)
        run(self._radiance, _rows(points), _rows(directions), density, color)
        return density, color

    def density(self, points: Tensor) -> Tensor:
        """Density per scene unit (N,), float32, at points (N, 3) in scene units."""
        density = _empty(points)
        run(self._density, _rows(points), density)
        return density

    def sdf(self, points: Tensor) -> Tensor:
        """Signed distance (N,) in metres, float32, at points (N, 3) in metres."""
        distance = _empty(points)
        run(self._distance, _rows(points), distance)
        return distance

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distance (N,) in metres, its gradient (N, 3), which has no unit; float32, at points (N, 3) in metres.

        One pass computes both, in forward mode: a tile holds four rows for each point, its value and three tangents.
        It is as high as one of values, so that it needs the same registers, and a quarter as many points share it;
        each weight that is loaded is multiplied with as many rows as before.
        """
        both = _empty(points, 4)
        run(self._distance_and_gradient, _rows(points), both)
        return both[:, 0], both[:, 1:]


def _rows(points: Tensor) -> Tensor:
    """Points (N, 3) as kernels read them: float32, one row behind the other."""
    return points.detach().float().contiguous()


def _empty(points: Tensor, *shape: int) -> Tensor:
    """Float32 values (N, *shape) that a kernel will write."""
    return torch.empty(len(points), *shape, device=points.device)


def read_network(field: Any) -> RadianceNetwork | DistanceNetwork:
    """What a kernel is written from.

    Raises:
        Unsupported: there can be no kernel for the field.
    """
    encoding, trunk = getattr(field, "position_encoding", None), _plain(getattr(field, "trunk", None))
    if not isinstance(trunk, MLP | FoldedMLP) or not isinstance(encoding, FrequencyEncoding | IntegratedEncoding):
        raise Unsupported(f"a {type(field).__name__} has no trunk and encoding that are known")
    if encoding.out_dim > WIDEST_ENCODING:
        raise Unsupported(f"its encoding is {encoding.out_dim} wide; up to {WIDEST_ENCODING} can be fused")
    with part("trunk"):
        stages = _read_affine_end(trunk, encoding.out_dim)
    low, high = (corner.detach().cpu().double() for corner in field.aabb)
    if hasattr(field, "output_scale") and hasattr(field, "scale"):
        frame = Frame((low + high) / 2, field.scale.detach().cpu().double().expand(3), divides=False)
        return DistanceNetwork(encoding, frame, stages, field.output_scale)
    directions, head = getattr(field, "direction_encoding", None), _plain(getattr(field, "color_head", None))
    if not isinstance(directions, FrequencyEncoding) or not isinstance(encoding, FrequencyEncoding):
        raise Unsupported(f"a {type(field).__name__} has no frequency encodings of positions and directions")
    if not isinstance(head, MLP | FoldedMLP):
        raise Unsupported(f"a {type(field).__name__} has no colour head that is known")
    with part("colour head"):
        colors = read_stages(fold(head), field.feature_dim + directions.out_dim)
    if len(colors) < 2 or any(
        stage.skip is not None or stage.products or stage.norm_column is not None for stage in colors
    ):
        raise Unsupported("its colour head is no dense MLP of two layers or more")
    frame = Frame((low + high) / 2, (high - low) / 2, divides=True)
    return RadianceNetwork(encoding, frame, stages, field.initial_density, directions, colors)


def _plain(network: Any) -> Any:
    """A network without its tiles."""
    return network.folded if isinstance(network, TiledMLP) else network


def _read_affine_end(trunk: MLP | FoldedMLP, in_dim: int) -> list[Stage]:
    """The stages of a trunk whose last one is linear. PRP layers stay apart, for the factors of their matrices."""
    stages = read_stages(fold(trunk, materialise=False), in_dim)
    if len(stages) < 2 or not stages[-1].is_affine:
        raise Unsupported("its last stage is no linear layer behind hidden ones")
    return stages
