"""Activations by name, and the norm that can be differentiated at 0."""

import pytest
import torch

from eugen_fields.layers.activations import ACTIVATIONS, get_activation, safe_norm


def test_names_none_and_callables_resolve():
    x = torch.linspace(-2, 2, 9)
    assert torch.equal(get_activation("relu")(x), x.clamp(min=0))
    assert torch.equal(get_activation("sine")(x), x.sin())
    assert torch.equal(get_activation(None)(x), x)
    assert get_activation(None) is get_activation("identity")
    assert get_activation(torch.cos) is torch.cos


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_are_element_wise(name):
    x = torch.linspace(-2, 2, 12).view(3, 4)
    y = get_activation(name)(x)
    single = torch.stack([get_activation(name)(value) for value in x.flatten()]).view(3, 4)
    torch.testing.assert_close(y, single)


def test_softplus100_is_a_smooth_relu():
    x = torch.linspace(-3.0, 3.0, 6001, dtype=torch.float64, requires_grad=True)
    y = get_activation("softplus100")(x)
    expected = torch.log1p(torch.exp(-100.0 * x.detach().abs())) / 100.0 + x.detach().clamp(min=0)
    torch.testing.assert_close(y.detach(), expected, rtol=0, atol=1e-10)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    torch.testing.assert_close(slope.detach(), torch.sigmoid(100.0 * x.detach()), rtol=0, atol=1e-8)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    expected = 100.0 * torch.sigmoid(100.0 * x.detach()) * torch.sigmoid(-100.0 * x.detach())
    torch.testing.assert_close(bend, expected, rtol=0, atol=1e-6)


def test_softplus100_makes_no_denormal_numbers():
    x = torch.linspace(-3.0, 3.0, 6001, requires_grad=True)
    y = get_activation("softplus100")(x)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    for values in (y.detach(), slope.detach(), bend):
        assert bool(((values == 0) | (values.abs() > 1e-20)).all())


def test_unknown_activation_is_refused_by_name():
    with pytest.raises(ValueError, match="activation is 'swoosh'.*relu"):
        get_activation("swoosh")


def test_safe_norm_is_the_norm_away_from_zero():
    x = torch.randn(7, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(safe_norm(x), x.norm(dim=-1, keepdim=True), rtol=1e-10, atol=0)


def test_safe_norm_has_finite_first_and_second_derivatives_at_zero():
    for dtype in (torch.float32, torch.float64):
        x = torch.zeros(4, dtype=dtype, requires_grad=True)
        (gradient,) = torch.autograd.grad(safe_norm(x).sum(), x, create_graph=True)
        assert torch.equal(gradient, torch.zeros_like(x))
        (second,) = torch.autograd.grad(gradient.sum(), x)
        assert bool(torch.isfinite(second).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e2])
def test_safe_norm_survives_half_precision(dtype, scale):
    x = (torch.randn(5, 256, generator=torch.Generator().manual_seed(1)) * scale).to(dtype)
    norm = safe_norm(x)
    assert norm.dtype == dtype
    torch.testing.assert_close(norm.double(), x.double().norm(dim=-1, keepdim=True), rtol=1e-2, atol=0)
