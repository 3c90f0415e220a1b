"""Planes in integers: near where it matters, 0 elsewhere."""

import zlib

import pytest
import torch

from eugen_fields.storing.compression.planes import allocated_planes, planes_of_bits, spread_matter
from eugen_fields.storing.planes import RoundedPlanes


def planes_and_matter(seed=0):
    """Planes (3, 4, 40, 40) that are read in the middle of each, some entries much more than others."""
    generator = torch.Generator().manual_seed(seed)
    planes = 0.15 + 0.05 * torch.randn(3, 4, 40, 40, generator=generator)
    matter = torch.exp(2.0 * torch.randn(3, 4, 40, 40, generator=generator))
    matter[:, :, :12] = 0.0
    matter[:, :, :, 28:] = 0.0
    return planes, matter


def loss(rounded, planes, matter):
    return float((matter * (rounded.values() - planes).square()).sum())


def size(rounded):
    return len(zlib.compress(rounded.integers.numpy().tobytes(), 9))


@pytest.mark.parametrize("bits", [8, 6, 5, 4])
def test_integers_of_bits_span_what_is_read(bits):
    planes, matter = planes_and_matter()
    rounded = planes_of_bits(planes, matter, bits)
    largest = (1 << (bits - 1)) - 1
    assert int(rounded.integers.max()) == largest and int(rounded.integers.min()) >= -largest
    error = (rounded.values() - planes).abs() * (matter > 0)
    assert bool((error <= 0.51 * rounded.scales[..., None, None] + 1e-3 * planes.abs()).all())
    unread = rounded.integers[matter == 0].view(3, 4, -1)
    assert bool((unread == unread[..., :1]).all()), "what nothing reads takes bytes"


def test_finer_steps_cost_bytes_and_lose_less():
    planes, matter = planes_and_matter()
    found = [allocated_planes(planes, matter, 2.0**-octave) for octave in range(2, 9)]
    losses, sizes = [loss(one, planes, matter) for one in found], [size(one) for one in found]
    assert losses == sorted(losses, reverse=True) and sizes == sorted(sizes)
    assert sizes[-1] > 4 * sizes[0] and losses[0] > 100 * losses[-1]


def test_bytes_go_to_what_matters():
    """At the same size, less is lost than by integers that are all as fine."""
    planes, matter = planes_and_matter()
    even = planes_of_bits(planes, matter, 5)
    finenesses = [2.0 ** (-octave / 4) for octave in range(4, 40)]
    rounded = (allocated_planes(planes, matter, fineness) for fineness in reversed(finenesses))
    found = next(one for one in rounded if size(one) <= size(even))
    assert loss(found, planes, matter) < 0.9 * loss(even, planes, matter)


@pytest.mark.parametrize("round_planes", [lambda *of: planes_of_bits(*of, 8), lambda *of: allocated_planes(*of, 1e-3)])
def test_planes_that_nothing_reads_become_their_means(round_planes):
    planes, matter = planes_and_matter()
    matter[1] = 0.0
    rounded = round_planes(planes, matter)
    assert int(rounded.integers[1].abs().max()) == 0
    torch.testing.assert_close(rounded.values()[1, :, 0, 0], planes[1].mean(dim=(1, 2)), rtol=1e-3, atol=0)


def test_outliers_are_held():
    planes, matter = planes_and_matter()
    planes[0, 0, 20, 20] = 30.0
    rounded = allocated_planes(planes, matter, 2.0**-12)
    assert float(rounded.values()[0, 0, 20, 20]) == pytest.approx(30.0, rel=0.01)


def test_neighbours_of_what_matters_matter():
    matter = torch.zeros(3, 1, 9, 9)
    matter[0, 0, 4, 4] = 9.0
    spread = spread_matter(matter)
    assert float(spread.sum()) == pytest.approx(9.0) and float(spread[0, 0, 3:6, 3:6].min()) == pytest.approx(1.0)
    torch.testing.assert_close(spread_matter(torch.ones(3, 2, 5, 5)), torch.ones(3, 2, 5, 5))


def test_files_have_what_planes_are():
    planes, matter = planes_and_matter()
    rounded = allocated_planes(planes, matter, 2.0**-8)
    arrays = rounded.arrays("planes.0")
    again = RoundedPlanes(
        torch.from_numpy(arrays["planes.0"]).view(3, 4, 40, 40),
        *(torch.from_numpy(arrays[f"planes.0.{entry}"]).float().view(3, 4) for entry in ("scale", "offset")),
    )
    assert again.values().equal(rounded.values()), "scales or offsets are not numbers that float16 has"
