"""IntegratedEncoding against averages over drawn points, and against the encoding of points."""

import math

import pytest
import torch
from support.frustum_points import frustum_points

from eugen_fields.encodings import (
    FrequencyEncoding,
    IntegratedEncoding,
    conical_frustum_gaussians,
    icosahedron_directions,
)

every_basis = pytest.mark.parametrize("basis", ["diagonal", "icosahedron"])


@pytest.fixture
def float64_by_default():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def points(*shape, seed=0):
    return torch.rand(*shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2.0 - 1.0


def covariances(*shape, scale=1.0, seed=1):
    root = normal(*shape, 3, 3, seed=seed) * scale
    return root @ root.transpose(-1, -2)


# --- the off-axis basis


def test_icosahedron_directions_are_21_distinct_lines():
    directions = icosahedron_directions()
    assert directions.shape == (21, 3)
    cosines = (directions @ directions.T).abs()
    torch.testing.assert_close(torch.diagonal(cosines), torch.ones(21, dtype=torch.float64))
    assert float((cosines - torch.eye(21)).max()) < math.cos(math.radians(30.0))  # the midpoints are nearest: 31.7


def test_icosahedron_directions_have_its_symmetries():
    directions = icosahedron_directions()
    axis = directions[0]  # a corner: a fifth of a turn about it leaves the icosahedron as it was
    cross = torch.linalg.cross(torch.eye(3, dtype=torch.float64), axis.expand(3, 3)).T
    for turn, same in ((2.0 * math.pi / 5.0, True), (2.0 * math.pi / 3.0, False)):
        rotation = torch.matrix_exp(-turn * cross)
        cosines = (directions @ rotation.T @ directions.T).abs()
        assert bool((cosines.max(dim=1).values > 1.0 - 1e-12).all()) == same
    # no direction of space is favoured
    torch.testing.assert_close(directions.T @ directions, 7.0 * torch.eye(3, dtype=torch.float64))


# --- points


@every_basis
@pytest.mark.parametrize("num_frequencies", [0, 1, 6])
@pytest.mark.parametrize("leading", [(), (4,), (2, 3), (0,)])
def test_output_dimension(basis, num_frequencies, leading):
    encoding = IntegratedEncoding(num_frequencies, basis=basis)
    assert encoding.out_dim == 3 + 2 * num_frequencies * {"diagonal": 3, "icosahedron": 21}[basis]
    means, spread = points(*leading).float(), covariances(*leading).float()
    assert encoding(means).shape == encoding(means, spread).shape == (*leading, encoding.out_dim)


@pytest.mark.parametrize("num_frequencies", [0, 1, 10])
@pytest.mark.parametrize("given", [None, torch.zeros(20, 3, 3, dtype=torch.float64)], ids=["points", "zero covariance"])
def test_without_covariance_it_is_the_frequency_encoding(float64_by_default, num_frequencies, given):
    x = points(20)
    expected = FrequencyEncoding(3, num_frequencies)(x)
    torch.testing.assert_close(IntegratedEncoding(num_frequencies)(x, given), expected, rtol=0, atol=1e-12)


def test_without_covariance_it_is_the_frequency_encoding_in_float32():
    x = points(20).float()
    tolerance = 2.0**6 * math.pi * 2.0**-23  # FrequencyEncoding's angles, rounded to float32
    torch.testing.assert_close(IntegratedEncoding(6)(x), FrequencyEncoding(3, 6)(x), rtol=0, atol=tolerance)


# --- Gaussians


@every_basis
@pytest.mark.parametrize("scale", [0.003, 0.03, 0.3, 3.0])
def test_encoding_is_the_mean_over_the_gaussian(float64_by_default, basis, scale):
    encoding = IntegratedEncoding(4, basis=basis)
    mean, root = points(1, seed=2)[0], normal(3, 3, seed=3) * scale
    count = 40_000
    drawn = encoding(mean + normal(count, 3, seed=4) @ root.T)[:, 3:]
    error = drawn.std(dim=0) / count**0.5
    assert float(error.max()) < 0.004
    assert bool(((drawn.mean(dim=0) - encoding(mean, root @ root.T)[3:]).abs() < 4.5 * error).all())


# The top octave turns by 8 pi = 25 radians per unit: these frustums reach about one radian to each side of their mean.
# A wider one's Fourier transform (sharp edges) differs from a Gaussian's by more than 0.01, and so does a longer whole
# cone's (skewed: at length 0.1 by 0.011).
@every_basis
@pytest.mark.parametrize(
    "start, end, radius",
    [(2.0, 2.06, 0.005), (1.0, 1.05, 0.03), (3.0, 3.08, 0.01), (0.0, 0.07, 0.4), (4.0, 4.001, 0.01)],
)
def test_encoding_is_the_mean_over_a_frustum_of_moderate_size(float64_by_default, basis, start, end, radius):
    encoding = IntegratedEncoding(4, basis=basis)
    origin, direction = torch.tensor([0.2, -0.5, 0.1]), torch.tensor([2.0, -1.0, 2.0]) / 3.0
    means, spread = conical_frustum_gaussians(
        origin, direction, torch.tensor([start]), torch.tensor([end]), torch.tensor([radius])
    )
    count = 50_000
    drawn = encoding(frustum_points(origin, direction, start, end, radius, count))
    assert float(drawn.std(dim=0).max()) / count**0.5 < 0.004
    average = drawn.mean(dim=0)
    assert float((encoding(means, spread)[0] - average).abs().max()) < 0.01
    assert float((encoding(means)[0] - average).abs().max()) > 0.03  # the damping is what does it


@every_basis
def test_isotropic_gaussians_are_damped_alike_in_every_rotation(float64_by_default, basis):
    num_frequencies, deviation = 4, 0.05
    encoding = IntegratedEncoding(num_frequencies, basis=basis)
    rotations = torch.linalg.qr(normal(8, 3, 3)).Q
    spread = rotations @ (deviation**2 * torch.eye(3)) @ rotations.transpose(-1, -2)
    x = points(8)
    damping = torch.exp(-0.5 * (math.pi * 2.0 ** torch.arange(num_frequencies) * deviation) ** 2)
    expected = encoding(x)[:, 3:].view(8, 2, num_frequencies, -1) * damping[:, None]
    torch.testing.assert_close(encoding(x, spread)[:, 3:].view_as(expected), expected)


@every_basis
def test_a_wide_gaussian_keeps_its_mean_alone(basis):
    encoding = IntegratedEncoding(16, basis=basis)
    x = points(4).float().requires_grad_()
    spread = (covariances(4, scale=1e9) + 1e18 * torch.eye(3)).float().requires_grad_()
    encoded = encoding(x, spread)
    assert torch.equal(encoded, torch.cat([x, torch.zeros(4, encoding.out_dim - 3)], dim=1))
    for gradient in torch.autograd.grad(encoded.sum(), (x, spread)):
        assert bool(torch.isfinite(gradient).all())


def test_rounding_in_a_thin_gaussian_amplifies_nothing():
    axis = icosahedron_directions().float()[3:4]
    spread = 1e4 * axis.T @ axis  # variance 0 in a plane, but for rounding
    encoded = IntegratedEncoding(16, basis="icosahedron")(torch.zeros(3), spread)
    assert float(encoded.abs().max()) <= 1.0


# --- precision


def test_float32_is_accurate_in_every_octave():
    encoding = IntegratedEncoding(24)
    x = (points(200) * 2.0).float()
    spread = covariances(200, scale=1e-6).float()
    for given in (None, spread):
        encoded = encoding(x, given)
        exact = IntegratedEncoding(24).double()(x.double(), None if given is None else given.double())
        torch.testing.assert_close(encoded.double(), exact, rtol=0, atol=1e-6)


def test_float32_off_the_axes_is_as_accurate_as_the_projection():
    octaves = 12
    encoding = IntegratedEncoding(octaves, basis="icosahedron")
    x = (points(200) * 2.0).float()
    spread = covariances(200, scale=1e-3).float()
    exact = IntegratedEncoding(octaves, basis="icosahedron").double()
    for given in (None, spread):
        encoded = encoding(x, given)[:, 3:].view(200, 2, octaves, 21)
        expected = exact(x.double(), None if given is None else given.double())[:, 3:].view_as(encoded)
        error = (encoded.double() - expected).abs().amax(dim=(0, 1, 3))
        # b.x is below 3.5 and rounds by some 2e-7, which octave k turns into 2^k pi times as much
        assert bool((error < 4e-7 * math.pi * 2.0 ** torch.arange(octaves) + 1e-6).all())


@every_basis
def test_autocast_changes_nothing(basis):
    encoding = IntegratedEncoding(12, basis=basis)
    x, spread = points(10).float(), covariances(10, scale=0.01).float()
    expected = encoding(x, spread)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encoding(x, spread), expected)


# --- the rest


@every_basis
def test_first_and_second_derivatives_are_those_of_the_values(basis):
    encoding = IntegratedEncoding(2, basis=basis).double()
    x, spread = points(2).requires_grad_(), covariances(2, scale=0.2).requires_grad_()
    assert torch.autograd.gradcheck(encoding, (x, spread))
    assert torch.autograd.gradgradcheck(encoding, (x, spread))
    assert torch.autograd.gradgradcheck(encoding, (x,))


@every_basis
def test_nothing_is_stored_or_trained(basis):
    encoding = IntegratedEncoding(5, basis=basis)
    assert encoding.state_dict() == {} and list(encoding.parameters()) == []


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="num_frequencies is -1"):
        IntegratedEncoding(-1)
    with pytest.raises(ValueError, match="basis is 'cube'"):
        IntegratedEncoding(4, basis="cube")  # type: ignore[arg-type]
