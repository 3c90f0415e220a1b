"""Every term of the loss against numbers worked out by hand."""

import math

import pytest
import torch

from eugen_fields.models.sdf_losses import (
    SDFLossWeights,
    eikonal_loss,
    free_space_loss,
    gradient_direction_loss,
    near_surface_loss,
    sdf_loss_terms,
)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_free_space_allows_everything_from_zero_to_the_bound():
    bounds = tensor(1.0, 1.0, 1.0, 1.0, 1.0)
    loss = free_space_loss(tensor(0.0, 0.4, 1.0, 1.5, -0.2), bounds)
    torch.testing.assert_close(loss, tensor(0.0, 0.0, 0.0, 0.5, math.e - 1.0))


def test_free_space_loss_is_finite_however_wrong_the_field():
    sdf = torch.tensor([-1e3, 1e3], requires_grad=True)
    loss = free_space_loss(sdf, torch.ones(2))
    (gradient,) = torch.autograd.grad(loss.sum(), sdf)
    assert bool(torch.isfinite(loss).all()) and bool(torch.isfinite(gradient).all())


def test_near_surface_is_the_distance_to_the_bound():
    torch.testing.assert_close(near_surface_loss(tensor(0.1, -0.1), tensor(0.25, -0.4)), tensor(0.15, 0.3))


def test_eikonal_is_the_error_of_the_length():
    gradient = tensor([3.0, 4.0, 0.0], [0.6, 0.0, 0.8], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0])
    torch.testing.assert_close(eikonal_loss(gradient), tensor(4.0, 0.0, 0.5, 1.0))


def test_gradient_direction_is_one_minus_the_cosine():
    gradient = tensor([2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [-0.5, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0])
    directions = tensor([1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    loss = gradient_direction_loss(gradient, directions)
    torch.testing.assert_close(loss, tensor(0.0, 1.0, 2.0, 1.0 - math.sqrt(0.5), 0.0))


@pytest.mark.parametrize("length", [0.0, 1e-8, 1.0])
def test_flat_fields_have_finite_derivatives(length):
    gradient = torch.full((1, 3), length).requires_grad_()
    loss = eikonal_loss(gradient) + gradient_direction_loss(gradient, torch.tensor([[0.0, 0.6, 0.8]]))
    (derivative,) = torch.autograd.grad(loss.sum(), gradient)
    assert bool(torch.isfinite(derivative).all()) and float(derivative.abs().max()) < 2e3


# bound, f, gradient, direction: free space beyond the bound, free space behind a surface, near it, at it, behind it
CASES = {
    "too far in free space": (1.0, 1.5, (0.0, 0.0, 2.0), (0.0, 0.0, 1.0)),
    "negative in free space": (1.0, -0.1, (0.0, 0.0, 0.5), (0.0, 1.0, 0.0)),
    "near the surface": (0.2, 0.3, (0.0, 0.0, 1.5), (0.0, 0.0, -1.0)),
    "at the surface": (0.0, 0.05, (0.0, 3.0, 0.0), (0.0, 0.0, 0.0)),
    "behind the surface": (-0.1, 0.1, (0.0, 0.0, 9.0), (0.0, 0.0, 1.0)),
}
EXPECTED = {
    "too far in free space": (0.5, 0.0, 0.268 * 1.0, 0.0),
    "negative in free space": (math.exp(0.5) - 1.0, 0.0, 0.268 * 0.5, 0.018 * 1.0),
    "near the surface": (0.0, 5.383 * 0.1, 0.268 * 0.5, 0.018 * 2.0),
    "at the surface": (0.0, 5.383 * 0.05, 0.0, 0.0),
    "behind the surface": (0.0, 5.383 * 0.2, 0.0, 0.0),
}
NAMES = ("free_space", "near_surface", "eikonal", "gradient_direction")


@pytest.mark.parametrize("case", CASES)
def test_terms_by_hand(case):
    bound, value, gradient, direction = CASES[case]
    terms = sdf_loss_terms(tensor(value), tensor(gradient), tensor(bound), tensor(direction))
    assert tuple(terms) == NAMES
    for name, expected in zip(NAMES, EXPECTED[case]):
        assert float(terms[name]) == pytest.approx(expected, abs=1e-12), name


def test_terms_keep_the_shape_of_the_samples():
    columns = [torch.stack([tensor(case[i]) for case in CASES.values()]).squeeze() for i in range(4)]
    bounds, values, gradients, directions = (torch.stack([column, column]) for column in columns)
    terms = sdf_loss_terms(values, gradients, bounds, directions)
    for i, name in enumerate(NAMES):
        assert terms[name].shape == (2, 5)
        expected = tensor(*(row[i] for row in EXPECTED.values()))
        torch.testing.assert_close(terms[name], torch.stack([expected, expected]))


def test_ranges_and_weights_are_those_given():
    weights = SDFLossWeights(
        truncation=0.1,
        near_surface=2.0,
        eikonal=3.0,
        eikonal_from=0.5,
        gradient_direction=4.0,
    )
    sdf, bounds = tensor(-1.0, 0.3), tensor(0.2, 0.05)
    gradient, directions = tensor([0.0, 0.0, 2.0], [2.0, 0.0, 0.0]), tensor([0.0, 1.0, 0.0], [0.0, 1.0, 0.0])
    terms = sdf_loss_terms(sdf, gradient, bounds, directions, weights)
    torch.testing.assert_close(terms["free_space"], tensor(math.exp(5.0) - 1.0, 0.0))
    torch.testing.assert_close(terms["near_surface"], tensor(0.0, 0.5))
    torch.testing.assert_close(terms["eikonal"], tensor(0.0, 0.0))
    torch.testing.assert_close(terms["gradient_direction"], tensor(4.0, 4.0))
    at_the_edge = sdf_loss_terms(sdf, gradient, tensor(0.1, 0.5), directions, weights)
    torch.testing.assert_close(at_the_edge["free_space"], tensor(0.0, 0.0))
    torch.testing.assert_close(at_the_edge["eikonal"], tensor(0.0, 3.0))


def test_a_true_distance_within_tight_bounds_costs_nothing():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(100, 3, generator=generator, dtype=torch.float64)
    sdf = points.norm(dim=-1) - 0.5
    gradient = points / points.norm(dim=-1, keepdim=True)
    for name, term in sdf_loss_terms(sdf, gradient, sdf, gradient).items():
        assert float(term.abs().max()) < 1e-12, name


def test_free_space_can_be_fitted_to_its_bound_as_well():
    sdf, bounds = tensor(0.4, 1.5, -0.2, 0.1), tensor(1.0, 1.0, 1.0, 0.2)
    gradient, directions = torch.zeros(4, 3, dtype=torch.float64), torch.zeros(4, 3, dtype=torch.float64)
    loose, tight = (
        sdf_loss_terms(sdf, gradient, bounds, directions, SDFLossWeights(free_space_fit=fit)) for fit in (0.0, 2.0)
    )
    added = 2.0 * (sdf - bounds).abs() * tensor(1.0, 1.0, 1.0, 0.0)  # the last one is near the surface
    torch.testing.assert_close(tight["free_space"], loose["free_space"] + added)
    torch.testing.assert_close(tight["near_surface"], loose["near_surface"])
