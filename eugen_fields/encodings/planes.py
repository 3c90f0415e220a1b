"""Feature planes: features of a point are read from three planes for each of several resolutions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from eugen_fields.encodings.integrated import IntegratedEncoding
from eugen_fields.encodings.plane_rows import LEAST_CHANNELS, add_to_rows, corner_rows, read_rows

Combination = Literal["product", "sum"]
_AXES = ((0, 1), (1, 2), (0, 2))
"""The axes of the three planes: the first runs along the columns of a plane, the second along its rows."""
_STARTS = {"product": (0.1, 0.2), "sum": (-0.1, 0.1)}
"""Range of the uniform numbers that planes start with. Products of three of them are all about alike and positive."""
_SCALES = {"product": 100.0, "sum": 10.0}
"""Factor on what is read: entries of planes stay small beside the steps of their optimiser, features do not."""
_NO_SECOND_DERIVATIVES = (
    "feature planes are read bilinearly and have no second derivatives, which losses on gradients, such as those of "
    "signed distance, need: encode positions by frequencies, or take differences of values"
)
_BILINEAR, _BORDER = 0, 1  # of grid_sample's interpolation and padding modes


class _ReadPlanes(torch.autograd.Function):
    """Features (levels, channels, N) of points, as plain torch would compute them, in fewer and smaller steps.

    Args:
        grid: where the points are in each of the three planes, in [-1, 1], shape (3, 1, N, 2).
        factors: on the features of each level, shape (levels, N or 1); they get no gradient.
        combination: as in PlaneEncoding.
        planes: of each level, shape (3, channels, R, R).
    """

    @staticmethod
    def forward(ctx: Any, grid: Tensor, factors: Tensor, combination: Combination, *planes: Tensor) -> Tensor:
        features = grid.new_empty(len(planes), planes[0].shape[1], grid.shape[2])
        reads = []
        for of_level, out, factor in zip(planes, features, factors):
            read = torch.grid_sampler_2d(of_level, grid, _BILINEAR, _BORDER, True)[:, :, 0]
            first, second, third = read
            if combination == "product":
                torch.mul(first, second, out=out).mul_(third)
            else:
                torch.add(first, second, out=out).add_(third)
            out.mul_(factor)
            reads.append(read)
        ctx.combination, ctx.levels = combination, len(planes)
        ctx.save_for_backward(grid, factors, *planes, *reads)
        return features

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if torch.is_grad_enabled():  # create_graph: somebody wants derivatives of these
            raise NotImplementedError(_NO_SECOND_DERIVATIVES)
        grid, factors, *saved = ctx.saved_tensors
        wants_grid, wants_planes = ctx.needs_input_grad[0], any(ctx.needs_input_grad[3:])
        of_grid = torch.zeros_like(grid) if wants_grid else None
        of_planes: list[Tensor | None] = []
        of_features = gradient * factors[:, None]
        for planes, read, slope in zip(saved[: ctx.levels], saved[ctx.levels :], of_features):
            if ctx.combination == "product":
                first, second, third = read
                slope = torch.stack([second * third, first * third, first * second]).mul_(slope)
            else:
                slope = slope.expand(3, -1, -1)
            plane_slope, grid_slope = torch.ops.aten.grid_sampler_2d_backward(
                slope[:, :, None], planes, grid, _BILINEAR, _BORDER, True, [wants_planes, wants_grid]
            )
            of_planes.append(plane_slope)
            if of_grid is not None:
                of_grid += grid_slope
        return of_grid, None, None, *of_planes


class _ReadRows(torch.autograd.Function):
    """Features (N, levels * channels) of points on a CPU whose gradient nobody wants, as _ReadPlanes has them.

    Args:
        places: where the points are in each of the three planes, in [-1, 1], shape (3, N, 2).
        sizes: R of each level, int32, shape (levels,).
        factors, combination, planes: as of _ReadPlanes.
    """

    @staticmethod
    def forward(
        ctx: Any, places: Tensor, sizes: Tensor, factors: Tensor, combination: Combination, *planes: Tensor
    ) -> Tensor:
        rows, weights = corner_rows(places, sizes)
        features = places.new_empty(places.shape[1], len(planes), planes[0].shape[1])
        reads = []
        for level, (of_level, factor) in enumerate(zip(planes, factors)):
            read, out = read_rows(of_level, rows[level], weights[level]), features[:, level]
            combine = torch.mul if combination == "product" else torch.add
            combine(combine(read[0], read[1]), read[2], out=out)
            out.mul_(factor[:, None])
            reads.append(read)
        ctx.combination, ctx.sizes = combination, [of_level.shape[-1] for of_level in planes]
        if any(ctx.needs_input_grad[4:]):
            ctx.save_for_backward(rows, weights, factors, *reads)
        return features.flatten(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if torch.is_grad_enabled():
            raise NotImplementedError(_NO_SECOND_DERIVATIVES)
        rows, weights, factors, *reads = ctx.saved_tensors
        of_features = gradient.unflatten(1, (len(reads), reads[0].shape[-1]))
        of_planes: list[Tensor] = []
        for level, (read, size) in enumerate(zip(reads, ctx.sizes)):
            slope = of_features[:, level] * factors[level][:, None]
            if ctx.combination == "product":
                first, second, third = read
                slope = torch.stack([second * third, first * third, first * second]).mul_(slope)
            else:
                slope = slope.expand(3, -1, -1)
            of_planes.append(add_to_rows(slope, rows[level], weights[level], size))
        return None, None, None, None, *of_planes


def _rows_serve(places: Tensor, planes: Tensor) -> bool:
    """Whether planes are read as rows of a table: on a CPU, in a type that it is fast in, where no gradient of the
    points is wanted, and rows are long enough to gain from it."""
    wants_points = places.requires_grad and torch.is_grad_enabled()
    plain = places.device.type == "cpu" and places.dtype == planes.dtype and type(places) is Tensor
    fits = planes.shape[1] >= LEAST_CHANNELS and places.dtype in (torch.float32, torch.float64)
    return plain and fits and not wants_points


class FixedPlanes(nn.Module):
    """Planes that are not trained: buffers "0", "1", .., one for each level, each of shape (3, channels, R, R)."""

    def __init__(self, planes: Sequence[Tensor]) -> None:
        super().__init__()
        for level, of_level in enumerate(planes):
            self.register_buffer(str(level), of_level)

    def __len__(self) -> int:
        return len(self._buffers)

    def __getitem__(self, level: int) -> Tensor:
        return self.get_buffer(str(level % len(self)))

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.buffers())


class PlaneEncoding(nn.Module):
    """Positions, waves of them, and features that are read from planes of several resolutions.

    For each resolution R there are three planes of R x R entries with C channels, along x and y, y and z, x and z. A
    point reads each of them bilinearly, and what it reads is multiplied across the three planes, or added.

    Sources: "K-Planes" (Fridovich-Keil et al., 2023), eq. 1 to 3: planes of several resolutions, side by side, and
    their product; "TensoRF" (Chen et al., 2022) has the sum of lower-dimensional factors.

    A cone of some width reads each resolution damped as a wave of the planes' finest detail is by a Gaussian of that
    width, exp(-(pi width / spacing)^2 / 2) with `spacing` between two entries ("Mip-NeRF", Barron et al., 2021, eq. 14;
    "Zip-NeRF", Barron et al., 2023, weighs the levels of a hash grid alike). So wide cones see coarse levels alone.

    Features are continuous, their gradients are not, and second derivatives raise NotImplementedError.

    Args:
        resolutions: entries along each side of a plane, one number for each level, at least 2.
        channels: features of each level.
        combination: "product" or "sum" of the three planes.
        num_frequencies: octaves of waves beside the features, as in IntegratedEncoding; positions are kept always.

    Shapes: positions (N, 3), meant to lie in [-1, 1]: beyond it planes go on as they end; widths (N,), standard
    deviations of the cone in the same unit, or None for points; to (N, out_dim): positions, waves, and the features
    level by level, out_dim = 3 + 6 num_frequencies + channels * levels.

    Raises:
        ValueError: a size below the smallest, no level, or an unknown combination.
    """

    axes: Tensor
    sizes: Tensor
    spacings: Tensor
    planes: nn.ParameterList | FixedPlanes

    def __init__(
        self,
        resolutions: Sequence[int],
        channels: int,
        *,
        combination: Combination = "product",
        num_frequencies: int = 0,
    ) -> None:
        super().__init__()
        if not resolutions or min(resolutions) < 2:
            raise ValueError(f"resolutions are {tuple(resolutions)}; give one or more, each at least 2")
        if channels < 1:
            raise ValueError(f"channels is {channels}; it must be at least 1")
        if combination not in _STARTS:
            raise ValueError(f"combination is {combination!r}; it must be one of {', '.join(_STARTS)}")
        self._prepare(resolutions, channels, combination, num_frequencies)
        starts = (nn.init.uniform_(torch.empty(3, channels, size, size), *_STARTS[combination]) for size in resolutions)
        # an entry's channels side by side: see plane_rows
        self.planes = nn.ParameterList(start.contiguous(memory_format=torch.channels_last) for start in starts)

    def _prepare(
        self, resolutions: Sequence[int], channels: int, combination: Combination, num_frequencies: int
    ) -> None:
        """Everything but the planes."""
        self.resolutions = tuple(resolutions)
        self.channels = channels
        self.combination = combination
        self.waves = IntegratedEncoding(num_frequencies)
        self.register_buffer("axes", torch.tensor(_AXES).flatten(), persistent=False)
        self.register_buffer("sizes", torch.tensor(resolutions, dtype=torch.int32), persistent=False)
        self.register_buffer("spacings", torch.tensor([2.0 / (size - 1) for size in resolutions]), persistent=False)
        self.out_dim = self.waves.out_dim + channels * len(self.resolutions)

    @classmethod
    def of_planes(
        cls, planes: Sequence[Tensor], *, combination: Combination = "product", num_frequencies: int = 0
    ) -> PlaneEncoding:
        """An encoding of planes that are there already, one tensor (3, channels, R, R) for each level, and that are not
        trained any more. Other arguments are those of the encoding."""
        encoding = cls.__new__(cls)
        nn.Module.__init__(encoding)
        sizes = [of_level.shape[-1] for of_level in planes]
        encoding._prepare(sizes, planes[0].shape[1], combination, num_frequencies)
        encoding.planes = FixedPlanes([plane.contiguous(memory_format=torch.channels_last) for plane in planes])
        return encoding

    def forward(self, positions: Tensor, widths: Tensor | None = None) -> Tensor:
        places = positions.index_select(1, self.axes).view(-1, 3, 2).transpose(0, 1)
        scale = _SCALES[self.combination]
        if widths is None:
            factors = torch.full_like(self.spacings, scale)[:, None]
        else:
            factors = scale * self.damping(widths.detach())
        beside = self._waves(positions, widths)
        if _rows_serve(places, self.planes[0]):
            features: Any = _ReadRows.apply(places, self.sizes, factors, self.combination, *self.planes)
            return torch.cat([beside, features], dim=1)
        features = _ReadPlanes.apply(places[:, None], factors, self.combination, *self.planes)
        return torch.cat([beside.t(), features.flatten(0, 1)]).t()

    def damping(self, widths: Tensor) -> Tensor:
        """Factors (levels, N) on the features of cones with these widths (N,)."""
        return torch.exp(-0.5 * (math.pi * widths / self.spacings[:, None]) ** 2)

    def _waves(self, positions: Tensor, widths: Tensor | None) -> Tensor:
        if widths is None or self.waves.out_dim == 3:
            return self.waves(positions)
        eye = torch.eye(3, dtype=widths.dtype, device=widths.device)
        return self.waves(positions, widths[:, None, None] ** 2 * eye)

    def total_variation(self) -> Tensor:
        """Mean squared difference of neighbours along both sides of the planes, summed over all planes, a scalar.

        Source: "K-Planes" (Fridovich-Keil et al., 2023), section 3.2.1, on smooth planes, as a mean over entries.
        """
        total = self.spacings.new_zeros(())
        for planes in self.planes:
            total = total + 3.0 * (planes.diff(dim=2).square().mean() + planes.diff(dim=3).square().mean())
        return total

    @staticmethod
    def parameter_count(resolutions: Sequence[int], channels: int) -> int:
        """Entries of all planes."""
        return 3 * channels * sum(size**2 for size in resolutions)
