"""The contraction of space: bounded, one-to-one, and what it does to Gaussians."""

import pytest
import torch
import torch.nn.functional as F

from eugen_fields.encodings import contract, contract_gaussians


def directions(count, seed=0, dtype=torch.float64):
    return F.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=-1)


def places(count, low, high, seed=0, dtype=torch.float64):
    """Places whose distances are spread evenly in their logarithm."""
    exponents = torch.linspace(0.0, 1.0, count, dtype=dtype)[:, None]
    return directions(count, seed, dtype) * low * (high / low) ** exponents


def covariances(count, seed=1):
    root = torch.randn(count, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.transpose(-1, -2)


def test_identity_inside_the_unit_ball():
    x = torch.cat([torch.zeros(1, 3, dtype=torch.float64), places(50, 1e-6, 0.999)])
    spread = covariances(51)
    assert torch.equal(contract(x), x)
    torch.testing.assert_close(contract_gaussians(x, spread), (x, spread), rtol=0, atol=0)


def test_outside_it_follows_the_formula():
    x = places(50, 1.001, 1e3)
    distance = x.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(contract(x), (2.0 - 1.0 / distance) * x / distance)
    assert contract(x.view(5, 10, 3)).shape == (5, 10, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_of_space_stays_inside_radius_two(dtype):
    x = places(20_000, 1e-3, 1e15, dtype=dtype)
    lengths = contract(x).double().norm(dim=-1)
    assert float(lengths.max()) < 2.0
    assert float(lengths.max()) > 2.0 - 2e-6  # and reaches up to it
    ordered = lengths[x.norm(dim=-1) < 1e3]
    assert bool((ordered[1:] > ordered[:-1]).all())


@pytest.mark.parametrize("far", [10.0, 1e4])
def test_every_place_can_be_told_from_where_it_goes(far):
    x = places(1000, 1e-3, far)
    contracted = contract(x)
    length = contracted.norm(dim=-1, keepdim=True)
    distance = torch.where(length > 1.0, 1.0 / (2.0 - length), length)
    error = (contracted / length * distance - x).norm(dim=-1) / x.norm(dim=-1)
    assert float(error.max()) < 8.0 * far * torch.finfo(x.dtype).eps


def test_derivatives_are_those_of_the_values():
    for low, high in ((0.01, 0.9), (1.1, 1.9)):
        x = places(5, low, high).requires_grad_()
        assert torch.autograd.gradcheck(contract, x)
        assert torch.autograd.gradgradcheck(contract, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_derivatives_are_finite_at_the_centre_and_on_the_unit_sphere(dtype):
    centre, sphere = torch.zeros(1, 3, dtype=dtype), torch.eye(3, dtype=dtype)
    x = torch.cat([centre, sphere, -sphere]).requires_grad_()
    spread = covariances(7).to(dtype).requires_grad_()
    (gradient,) = torch.autograd.grad(contract(x).sum(), x, create_graph=True)
    torch.testing.assert_close(gradient, torch.ones_like(x))  # the Jacobian is the identity on both sides
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert bool(torch.isfinite(second).all())
    means, contracted = contract_gaussians(x, spread)
    for gradient in torch.autograd.grad(means.sum() + contracted.sum(), (x, spread)):
        assert bool(torch.isfinite(gradient).all())


def test_gaussians_follow_the_jacobian_of_the_contraction():
    x = places(24, 0.3, 50.0)
    spread = covariances(24)
    jacobians = torch.stack([torch.autograd.functional.jacobian(contract, place) for place in x])
    means, contracted = contract_gaussians(x.view(2, 12, 3), spread.view(2, 12, 3, 3))
    assert torch.equal(means.view(24, 3), contract(x))
    expected = jacobians @ spread @ jacobians.transpose(-1, -2)
    torch.testing.assert_close(contracted.view(24, 3, 3), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("distance", [0.5, 1.5, 4.0, 30.0])
def test_small_gaussians_have_the_moments_of_contracted_points(distance):
    mean = directions(1)[0] * distance
    root = torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 1e-4 * distance
    count = 100_000
    noise = torch.randn(count, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    drawn = contract(mean + noise @ root.T)
    contracted_mean, contracted = contract_gaussians(mean, root @ root.T)
    offsets = drawn - contracted_mean
    products = (offsets[:, :, None] * offsets[:, None, :]).flatten(1)
    error = products.std(dim=0) / count**0.5
    assert bool(((products.mean(dim=0) - contracted.flatten()).abs() < 4.5 * error).all())
    # a Gaussian of relative size 1e-4 bends by its square
    assert float((offsets.mean(dim=0).abs() - 4.5 * offsets.std(dim=0) / count**0.5).max()) < 1e-7


def test_contracted_gaussians_differentiate():
    x = places(4, 0.4, 6.0).requires_grad_()
    spread = covariances(4).requires_grad_()
    assert torch.autograd.gradcheck(contract_gaussians, (x, spread))


def test_far_gaussians_in_float32_stay_symmetric_and_accurate():
    x = places(40, 1.0, 1e6)
    size = 0.3 * x.norm(dim=-1)[:, None, None]  # Gaussians that grow with distance, as disparity spacing makes them
    spread = covariances(40) * size**2
    means, contracted = contract_gaussians(x.float(), spread.float())
    exact_means, exact = contract_gaussians(x.float().double(), spread.float().double())
    torch.testing.assert_close(means.double(), exact_means, rtol=0, atol=2e-6)
    torch.testing.assert_close(contracted.double(), exact, rtol=0, atol=2e-6 * float(exact.abs().max()))
    torch.testing.assert_close(contracted, contracted.transpose(-1, -2), rtol=0, atol=2e-7)
