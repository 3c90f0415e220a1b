"""Distances along rays, normalised and back."""

import pytest
import torch

from eugen_fields.sampling import to_distances, to_normalised

NEAR = torch.tensor([[0.05], [1.0], [2.0]], dtype=torch.float64)
FAR = torch.tensor([[4.0], [1e6], [2.5]], dtype=torch.float64)
every_spacing = pytest.mark.parametrize("spacing", ["linear", "disparity", "power"])


def grid(count, dtype=torch.float64):
    return torch.linspace(0.0, 1.0, count, dtype=dtype).expand(3, count)


@every_spacing
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_near_is_zero_and_far_is_one(spacing, dtype):
    near, far = NEAR.to(dtype), FAR.to(dtype)
    ends = torch.tensor([[0.0, 1.0]], dtype=dtype).expand(3, 2)
    torch.testing.assert_close(to_normalised(torch.cat([near, far], dim=1), near, far, spacing), ends)
    torch.testing.assert_close(to_distances(ends, near, far, spacing), torch.cat([near, far], dim=1), rtol=1e-6, atol=0)


@every_spacing
def test_each_is_the_inverse_of_the_other(spacing):
    distances = to_distances(grid(101), NEAR, FAR, spacing)
    torch.testing.assert_close(to_normalised(distances, NEAR, FAR, spacing), grid(101))
    torch.testing.assert_close(
        to_distances(to_normalised(distances, NEAR, FAR, spacing), NEAR, FAR, spacing), distances, rtol=1e-8, atol=0
    )


def test_linear_steps_are_equal_and_disparity_steps_are_equal_in_inverse_depth():
    linear = torch.diff(to_distances(grid(9), NEAR, FAR, "linear"))
    torch.testing.assert_close(linear, ((FAR - NEAR) / 8.0).expand(3, 8))
    inverse = torch.diff(1.0 / to_distances(grid(9), NEAR, FAR, "disparity"))
    torch.testing.assert_close(inverse, ((1.0 / FAR - 1.0 / NEAR) / 8.0).expand(3, 8))


def test_power_steps_are_equal_in_the_power_transformation():
    def power(x, exponent):
        """P(x, lambda) as Zip-NeRF writes it."""
        scale = abs(exponent - 1.0)
        return scale / exponent * ((x / scale + 1.0) ** exponent - 1.0)

    start, end = power(2.0 * NEAR, -1.5), power(2.0 * FAR, -1.5)
    steps = torch.diff(power(2.0 * to_distances(grid(9), NEAR, FAR, "power"), -1.5))
    torch.testing.assert_close(steps, ((end - start) / 8.0).expand(3, 8))


@every_spacing
def test_float32_distances_never_go_back(spacing):
    # steps of one rounding error
    normalised = (1.0 - torch.arange(20_000, 0, -1, dtype=torch.float32) * 2.0**-24).expand(3, -1)
    assert bool((torch.diff(to_distances(normalised, NEAR.float(), FAR.float(), spacing)) >= 0).all())


@every_spacing
def test_derivatives_are_those_of_the_values(spacing):
    inputs = [grid(5).clone().requires_grad_(), NEAR.clone().requires_grad_(), (2.0 + NEAR).requires_grad_()]
    assert torch.autograd.gradcheck(lambda s, near, far: to_distances(s, near, far, spacing), inputs)


def test_an_unknown_spacing_is_refused():
    for function in (to_distances, to_normalised):
        with pytest.raises(ValueError, match="spacing is 'log'"):
            function(grid(3), NEAR, FAR, "log")
