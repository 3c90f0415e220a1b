"""PlaneEncoding against a slow reference in float64, and what it promises of cones, smoothness and derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from eugen_fields.encodings import PlaneEncoding
from eugen_fields.encodings.planes import _SCALES

AXES = ((0, 1), (1, 2), (0, 2))
SIZES = (2, 5, 12)
both = pytest.mark.parametrize("combination", ["product", "sum"])


def encoding(combination="product", resolutions=SIZES, channels=3, **options):
    torch.manual_seed(0)
    return PlaneEncoding(resolutions, channels, combination=combination, **options).double()


def points(count=40, reach=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return reach * (2.0 * torch.rand(count, 3, generator=generator, dtype=torch.float64) - 1.0)


def read(plane: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """A plane (C, R, R) at one place, entry by entry: the four about it by their areas, (C,)."""
    size = plane.shape[-1]
    column, row = ((place.clamp(-1.0, 1.0) + 1.0) / 2.0 * (size - 1) for place in (first, second))
    left, top = (min(int(place), size - 2) for place in (column, row))
    value = plane.new_zeros(len(plane))
    for x in (left, left + 1):
        for y in (top, top + 1):
            value = value + plane[:, y, x] * (1 - (column - x).abs()) * (1 - (row - y).abs())
    return value


def slow_features(planes: PlaneEncoding, positions: Tensor) -> Tensor:
    """The features, point by point, level by level, (N, levels * C)."""
    rows = []
    for position in positions:
        levels = []
        for level in planes.planes:
            parts = torch.stack([read(plane, position[a], position[b]) for plane, (a, b) in zip(level, AXES)])
            levels.append(parts.prod(dim=0) if planes.combination == "product" else parts.sum(dim=0))
        rows.append(_SCALES[planes.combination] * torch.cat(levels))
    return torch.stack(rows)


@both
@pytest.mark.parametrize("reach", [1.0, 1.4], ids=["inside", "beyond the edges too"])
def test_values_and_gradients_are_those_of_the_slow_reference(combination, reach):
    planes = encoding(combination)
    positions = points(reach=reach).requires_grad_()
    found = planes(positions)
    assert found.shape == (40, planes.out_dim) == (40, 3 + 3 * len(SIZES))
    torch.testing.assert_close(found[:, :3], positions)
    expected = slow_features(planes, positions)
    torch.testing.assert_close(found[:, 3:], expected)
    toward = torch.randn(found[:, 3:].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = [positions, *planes.planes]
    slopes = [torch.autograd.grad((values * toward).sum(), wanted) for values in (found[:, 3:], expected)]
    for mine, slow in zip(*slopes):
        torch.testing.assert_close(mine, slow)
    assert all(bool(slope.any()) for slope in slopes[0])


@both
def test_gradients_are_those_of_differences(combination):
    planes = encoding(combination, (3, 6), 2, num_frequencies=1)
    positions = points(6).requires_grad_()
    widths = torch.full((6,), 0.05, dtype=torch.float64)

    def value(positions, *parameters):
        return torch.func.functional_call(planes, dict(zip(("planes.0", "planes.1"), parameters)), (positions, widths))

    assert torch.autograd.gradcheck(value, (positions, *planes.planes), eps=1e-7, atol=1e-5)


@both
def test_planes_alone_can_be_wanted_or_points_alone(combination):
    planes, positions = encoding(combination), points()
    (planes(positions) ** 2).sum().backward()
    expected = [plane.grad for plane in planes.planes]
    planes.requires_grad_(False)
    positions.requires_grad_()
    (planes(positions) ** 2).sum().backward()
    both_wanted = encoding(combination)
    again = positions.detach().requires_grad_()
    (both_wanted(again) ** 2).sum().backward()
    torch.testing.assert_close(again.grad, positions.grad)
    for plane, gradient in zip(both_wanted.planes, expected):
        torch.testing.assert_close(plane.grad, gradient)


def test_entries_lie_on_the_corners_and_planes_go_on_as_they_end():
    planes = encoding("sum", (4,), 1)
    with torch.no_grad():
        for plane in planes.planes[0][1:]:
            plane.zero_()
        planes.planes[0][0] = torch.arange(16.0).view(1, 4, 4)  # along x and y; y runs along the rows
    corner = torch.tensor([[-1.0, -1.0, 0.3], [1.0, -1.0, 0.3], [-1.0, 1.0, 0.3], [3.0, 5.0, -2.0], [0.0, -1.0, 0.9]])
    found = planes(corner.double())[:, 3] / _SCALES["sum"]
    assert found.tolist() == pytest.approx([0.0, 3.0, 12.0, 15.0, 1.5])


def test_new_planes_are_alike_everywhere_and_differ_by_seed():
    for seed in range(3):
        torch.manual_seed(seed)
        features = PlaneEncoding((32, 64), 8)(points(500).float())[:, 3:].detach()
        assert 0.05 < float(features.min()) and float(features.max()) < 0.85
        assert float(features.std()) > 0.02


# Cones


@both
def test_a_cone_reads_the_levels_that_suit_its_width(combination):
    planes = encoding(combination, (9, 33, 129), 2)
    positions = points(200)
    sharp = planes(positions).detach()[:, 3:].unflatten(1, (3, 2))
    for width in (0.0, 0.001, 0.004, 0.016, 0.06, 0.3):
        found = planes(positions, torch.full((200,), width, dtype=torch.float64)).detach()[:, 3:].unflatten(1, (3, 2))
        shares = [float((found[:, level] / sharp[:, level]).mean()) for level in range(3)]
        expected = [math.exp(-0.5 * (math.pi * width * (size - 1) / 2) ** 2) for size in (9, 33, 129)]
        assert shares == pytest.approx(expected, abs=1e-9)
        assert shares == sorted(shares, reverse=True)
    spacing = 2.0 / 128  # a pixel as wide as an entry sees it, one four times as wide does not
    pixel = torch.tensor([0.25, 1.0, 4.0], dtype=torch.float64) * spacing / math.sqrt(12.0)
    seen = planes.damping(pixel)[2].tolist()
    assert seen[0] > 0.97 and 0.5 < seen[1] < 0.8 and seen[2] < 0.01


def test_every_cone_has_its_own_width():
    planes, positions = encoding(), points(5)
    widths = torch.tensor([0.0, 0.1, 0.02, 0.5, 0.003], dtype=torch.float64)
    together = planes(positions, widths)
    for index in range(5):
        torch.testing.assert_close(together[index], planes(positions[index : index + 1], widths[index : index + 1])[0])


def test_waves_beside_the_features_are_damped_by_the_width_too():
    planes, positions = encoding(num_frequencies=3), points(5)
    assert planes.out_dim == 3 + 6 * 3 + 9
    waves = planes(positions, torch.full((5,), 0.1, dtype=torch.float64))[:, 3:21]
    damping = torch.exp(-0.5 * (math.pi * 0.1 * 2.0 ** torch.arange(3, dtype=torch.float64)) ** 2)
    expected = planes(positions)[:, 3:21] * damping.repeat_interleave(3).repeat(2)
    torch.testing.assert_close(waves, expected)


# Smoothness


def slow_total_variation(planes):
    total = 0.0
    for level in planes.planes:
        for plane in level:
            for along in (plane, plane.transpose(1, 2)):
                channels, rows, columns = along.shape
                squares = [
                    float(along[c, i + 1, j] - along[c, i, j]) ** 2
                    for c in range(channels)
                    for i in range(rows - 1)
                    for j in range(columns)
                ]
                total += sum(squares) / len(squares)
    return total


@both
def test_total_variation_is_that_of_a_loop(combination):
    planes = encoding(combination)
    assert float(planes.total_variation().detach()) == pytest.approx(slow_total_variation(planes))


def test_total_variation_falls_where_it_is_all_that_is_trained_and_is_none_for_even_planes():
    planes = encoding()
    before = float(planes.total_variation().detach())
    planes.total_variation().backward()
    with torch.no_grad():
        for plane in planes.planes:
            plane -= 0.1 * plane.grad
    assert float(planes.total_variation().detach()) < before
    with torch.no_grad():
        for plane in planes.planes:
            plane.fill_(0.3)
    assert float(planes.total_variation().detach()) == 0.0


# Bad input


def test_second_derivatives_are_refused_in_words():
    planes, positions = encoding(), points(4).requires_grad_()
    value = planes(positions).sum()
    torch.autograd.grad(value, positions, retain_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivatives.*signed distance.*frequencies"):
        torch.autograd.grad(value, positions, create_graph=True)


@pytest.mark.parametrize(
    "resolutions, channels, options, message",
    [
        ((), 4, {}, r"resolutions are \(\); give one or more, each at least 2"),
        ((32, 1), 4, {}, r"resolutions are \(32, 1\)"),
        ((32,), 0, {}, "channels is 0; it must be at least 1"),
        ((32,), 4, {"combination": "mean"}, "combination is 'mean'; it must be one of product, sum"),
        ((32,), 4, {"num_frequencies": -1}, "num_frequencies is -1"),
    ],
)
def test_sizes_out_of_range_are_refused(resolutions, channels, options, message):
    with pytest.raises(ValueError, match=message):
        PlaneEncoding(resolutions, channels, **options)


def test_the_parameters_are_counted_before_they_are_made():
    planes = encoding(channels=7)
    assert PlaneEncoding.parameter_count(SIZES, 7) == sum(parameter.numel() for parameter in planes.parameters())


# Rows of a table, on a CPU


def by_grid_sample(planes: PlaneEncoding, positions: Tensor) -> Tensor:
    """The features by torch's grid_sample alone, (N, levels * C)."""
    grid = torch.stack([positions[:, axes] for axes in AXES])[:, None]
    levels = []
    for level in planes.planes:
        read = torch.nn.functional.grid_sample(level, grid, padding_mode="border", align_corners=True)[:, :, 0]
        levels.append(read.prod(dim=0) if planes.combination == "product" else read.sum(dim=0))
    return _SCALES[planes.combination] * torch.cat(levels).t()


@both
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_rows_are_read_as_grid_sample_reads_planes(combination, precision, monkeypatch):
    planes = encoding(combination, (2, 7, 32), 8).to(precision)
    positions = points(300, reach=1.3).to(precision)
    monkeypatch.setattr("eugen_fields.encodings.planes._ReadPlanes", None)
    found, expected = planes(positions)[:, 3:], by_grid_sample(planes, positions)
    torch.testing.assert_close(found, expected)
    toward = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=precision)
    mine, slow = (torch.autograd.grad((values * toward).sum(), list(planes.planes)) for values in (found, expected))
    for level, of_rows, reference in zip(planes.planes, mine, slow):
        torch.testing.assert_close(of_rows, reference, rtol=1e-4, atol=1e-4)
        assert of_rows.stride() == level.stride(), "no copy is needed where it is added up"


def test_rows_are_refused_to_second_derivatives_too():
    planes = encoding("product", (4,), 8)
    (slope,) = torch.autograd.grad(planes(points())[:, 3:].sum(), list(planes.planes), create_graph=False)
    assert bool(slope.any())
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        torch.autograd.grad(planes(points())[:, 3:].sum(), list(planes.planes), create_graph=True)


def test_places_that_are_no_numbers_give_none_and_break_nothing():
    planes = encoding("product", (4,), 8)
    positions = points(5)
    positions[2, 1] = float("nan")
    positions[3, 0] = float("inf")
    found = planes(positions)
    assert bool(found[2, 3:].isnan().all()) and bool(found[[0, 1, 3, 4], 3:].isfinite().all())


def test_planes_stay_planes_wherever_they_lie_in_memory():
    planes, positions = encoding("product", (5, 9), 8), points()
    expected = planes(positions)
    state = {name: value.clone(memory_format=torch.contiguous_format) for name, value in planes.state_dict().items()}
    fresh = encoding("product", (5, 9), 8)
    fresh.load_state_dict(state)
    torch.testing.assert_close(fresh(positions), expected)
    for level, plane in enumerate(fresh.planes):
        fresh.planes[level] = torch.nn.Parameter(plane.detach().clone(memory_format=torch.contiguous_format))
    torch.testing.assert_close(fresh(positions), expected)


def test_no_points_are_no_features_and_no_gradients():
    planes = encoding("product", (4, 6), 8)
    found = planes(points(0))
    assert found.shape == (0, planes.out_dim)
    slopes = torch.autograd.grad(found.sum(), list(planes.planes))
    assert [slope.shape for slope in slopes] == [plane.shape for plane in planes.planes]
    assert not any(bool(slope.any()) for slope in slopes)
